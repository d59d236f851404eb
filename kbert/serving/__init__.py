"""A server for exported SavedModels that speaks the REST and gRPC surface of TensorFlow Serving.

    from kbert.serving.server import running_server

    with running_server("exports/sentiment", "sentiment") as server:
        print(server.predict_url)

Modules, lowest first: `status` (errors with a canonical code), `model` (one loaded version),
`json_text`, `json_tensor` and `json_examples` (JSON in and out), `batching` (the worker thread),
`manager` (versions on disk), `messages` and `inference` (what both fronts share), `rest` and `grpc`
(the fronts), `server` (all of it together).
"""
