FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 \
    INTERLOCK_HOME=/var/lib/interlock

RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/interlock interlock

WORKDIR /srv/interlock
COPY requirements.txt ./
RUN pip install --require-hashes -r requirements.txt
COPY . .
RUN pip install --no-deps --no-build-isolation -e .

USER interlock
CMD ["python", "-m", "app", "--help"]
