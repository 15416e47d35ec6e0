# A CPU image of ppzoo's HTTP service.
#
#     docker build -t ppzoo-serve .
#     docker run --rm -p 8000:8000 -v "$PWD/inference:/models:ro" -e PPZOO_SERVE_TOKEN=... ppzoo-serve /models/mobilenet_v2_x0_5
FROM python:3.12-slim

# libgomp1: PaddlePaddle's OpenMP. The service works without a compiler: exports do not use the native operators, and
# images are then read without ppzoo's compiled code, which is slower.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY ppzoo ppzoo
RUN pip install --no-cache-dir '.[cpu,openvino,serve]' && rm -rf /src/*

RUN useradd --create-home --uid 10001 ppzoo
USER ppzoo
WORKDIR /home/ppzoo
ENV PPZOO_HOME=/home/ppzoo/cache PYTHONUNBUFFERED=1

EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=60s --interval=10s --timeout=5s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["ppzoo", "serve", "--host", "0.0.0.0"]
