# The server image: Python, the pinned server dependencies and the bundled models. No torch, no compiler.
#
#   docker build -t vae-service .
#   docker run --rm -p 127.0.0.1:8000:8000 vae-service
#
# Written without BuildKit's own syntax, so that Debian's engine builds it too.

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/vae
# The dependencies first, from the names and pins alone: this layer lasts until one of them changes.
COPY pyproject.toml constraints.txt ./
# Extras beside them and the fast JSON parser, separated by spaces: EXTRAS=telemetry.
# An extra with another distribution of onnxruntime replaces the usual one: all of them have the same files.
ARG EXTRAS=""
RUN python -c "import os, tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; extras = ['fast', *os.environ.get('EXTRAS', '').split()]; more = [d for e in extras for d in p['optional-dependencies'][e]]; other = any(d.startswith('onnxruntime-') for d in more); print(*(d for d in p['dependencies'] if not (other and d.startswith('onnxruntime>'))), *more, sep='\n')" \
        > /tmp/requirements.txt \
    && /opt/vae/bin/pip install --constraint constraints.txt --requirement /tmp/requirements.txt
COPY README.md CHANGELOG.md LICENSE ./
COPY model_store model_store
COPY service service
COPY training training
RUN /opt/vae/bin/pip install --no-deps . \
    && { /opt/vae/bin/pip check > /tmp/check || ! grep -v 'vae-service .* requires onnxruntime, which is not installed' /tmp/check; } \
    && cp -r model_store/models /models \
    && rm -rf /opt/vae/lib/python3*/site-packages/pip /opt/vae/lib/python3*/site-packages/pip-* \
              /opt/vae/lib/python3*/site-packages/setuptools* /opt/vae/bin/pip* /opt/vae/bin/vae-train

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="vae-service" \
      org.opencontainers.image.description="Serves variational autoencoders over HTTP" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/vae /opt/vae
# A new named volume mounted at /models starts as a copy of this directory, its owner included. The package in
# /opt/vae keeps the bundled models too, so that `vae-store add bundled` brings those of a newer image into an old volume.
COPY --from=build --chown=10001:10001 /models /models
ENV PATH=/opt/vae/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    VAE_HOST=0.0.0.0 \
    VAE_PORT=8000 \
    VAE_MODEL_STORE=/models
USER 10001:10001
WORKDIR /
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["vae-serve", "healthcheck"]
CMD ["vae-serve", "run"]
