#!/bin/bash
# One run on the machines of a SLURM job, by torchrun: sbatch --nodes 2 deploy/training/slurm.sh
#
#   RECIPE=mnist DATA=/shared/mnist OUT=/shared/runs/mnist sbatch --nodes 2 deploy/training/slurm.sh
#
# DATA and OUT must be on a disk that all machines share. After a lost process torchrun starts all of them again;
# after a lost machine SLURM queues the job again. Both continue from the last checkpoint (--resume=auto).

#SBATCH --job-name=vae-train
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120

set -euo pipefail

# One process for each GPU. Without GPUs, one for each machine is fastest.
processes=${PROCESSES:-1}
export OMP_NUM_THREADS=$((${SLURM_CPUS_PER_TASK:-1} / processes > 0 ? ${SLURM_CPUS_PER_TASK:-1} / processes : 1))
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# Any free port of the first machine. The processes exchange data without encryption or authentication.
exec srun torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "$processes" --max-restarts 3 \
    --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$first:${PORT:-29500}" \
    --no-python vae-train fit --recipe "${RECIPE:-mnist}" --data "$DATA" --out "$OUT" --resume=auto "$@"
