# kbert with its own server:  docker build -t kbert .
#   docker run -p 127.0.0.1:8501:8501 -v $PWD/export:/models/desk kbert \
#     serve --model_name=desk --model_base_path=/models/desk --host=0.0.0.0
# The stock tensorflow/serving image serves the same exports; see export/README.md.
FROM python:3.11-slim

RUN useradd --create-home kbert
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY kbert ./kbert

# tensorflow-cpu is half the size, but TensorFlow Text and the serving stubs ask for `tensorflow`
# by name, so their requirements are named here and they are installed without.
RUN pip install --no-cache-dir -c constraints.txt \
      tensorflow-cpu==2.20.0 absl-py huggingface_hub keras matplotlib numpy protobuf safetensors \
      pyyaml scikit-learn scipy seqeval aiohttp grpcio grpcio-health-checking prometheus_client \
 && pip install --no-cache-dir --no-deps -c constraints.txt \
      tensorflow-text tensorflow-serving-api . \
 && kbert --version

USER kbert
WORKDIR /home/kbert
EXPOSE 8500 8501
ENTRYPOINT ["kbert"]
CMD ["--help"]
