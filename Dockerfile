# The environment of the lock in an image: `docker build -t perceptual-influence .`, with TensorFlow's CUDA libraries by
# `--build-arg GPU=1`. Results go to /results: `docker run --rm -v "$PWD/results:/results" perceptual-influence`. The recipe was not
# run here, where no container engine is.
FROM python:3.12-slim

RUN apt-get update \
 && apt-get install --yes --no-install-recommends bsdextrautils chromium dicom3tools git make \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home paper \
 && install --directory --owner=paper --group=paper /perceptual-influence /results
USER paper
WORKDIR /perceptual-influence

# The environment first: it is made anew only where a lock changes.
ARG GPU=
COPY --chown=paper:paper Makefile requirements*.txt ./
COPY --chown=paper:paper lib/study/profiles lib/study/profiles
RUN make environment GPU=$GPU && rm -rf ~/.cache

COPY --chown=paper:paper . .
ENV GPU=$GPU OUTPUT=/results
VOLUME /results
CMD ["make", "paper"]
