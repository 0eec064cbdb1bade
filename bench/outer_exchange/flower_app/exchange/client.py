"""A site: sends back the vector, changed, so that nothing of it is known at the server already."""

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message, context):
    change = np.float32(1e-3 * (1 + context.node_config["partition-id"]))
    parts = [part + change for part in message.content["arrays"].to_numpy_ndarrays()]
    metrics = MetricRecord({"num-examples": 1})
    content = RecordDict({"arrays": ArrayRecord(parts), "metrics": metrics})
    return Message(content=content, reply_to=message)
