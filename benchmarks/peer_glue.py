"""What a user would run instead on GLUE's tasks: transformers and torch; one run, one seed.

python peer_glue.py TRAIN.jsonl DEV.jsonl --model=DIR --labels=2 --epochs=3 --seed=0 ...

Runs under an interpreter that has their packages, with the reference folder's `peerlib` on its
path: fused AdamW, bf16 autocast, batches by length, as its scripts have them. Rows hold `text`,
`text_pair` or none, and `label`, a number. The last line of standard output is a JSON object with
the logits of the dev rows, which benchmarks/finetuning.py scores by kbert's own metric.
"""

import json
import time

import peerlib  # type: ignore[import-not-found]


def rows_of(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def main():
    p = peerlib.parser(__doc__)
    p.add_argument("train")
    p.add_argument("dev")
    peerlib.add_model_arg(p)
    p.add_argument("--labels", type=int, required=True, help="1 is a regression")
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--lr", type=float, default=5e-5)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--max_length", type=int, default=128)
    p.add_argument("--group", action="store_true")
    p.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()

    torch = peerlib.setup_torch(args.threads, args.seed)
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = peerlib.model_dir(args.model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    train, dev = rows_of(args.train), rows_of(args.dev)

    def encoded(rows):
        pairs = [row["text_pair"] for row in rows] if "text_pair" in rows[0] else None
        found = tokenizer(
            [row["text"] for row in rows], pairs, truncation=True, max_length=args.max_length
        )
        return found["input_ids"], found["token_type_ids"]

    start = time.perf_counter()
    ids, types = encoded(train)
    tokenize_s = time.perf_counter() - start
    dev_ids, dev_types = encoded(dev)
    lengths = [len(row) for row in ids]

    def logits_of(index, ids, types):
        x = torch.from_numpy(peerlib.pad_ids([ids[i] for i in index]))
        kinds = torch.from_numpy(peerlib.pad_ids([types[i] for i in index]))
        with peerlib.autocast(args.precision):
            given = {"input_ids": x, "token_type_ids": kinds, "attention_mask": (x != 0).long()}
            return model(**given).logits.float()

    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=args.labels)
    steps = args.epochs * -(-len(ids) // args.batch)
    optimizer, schedule = peerlib.adamw_linear(model, args.lr, steps)
    clock, answers = peerlib.Clock(), peerlib.Clock()
    model.train()
    with clock:
        for epoch in range(args.epochs):
            seed = args.seed * 1000 + epoch
            for index in peerlib.epoch_batches(lengths, args.batch, seed, args.group):
                logits = logits_of(index, ids, types)
                gold = torch.tensor([train[i]["label"] for i in index])
                if args.labels == 1:
                    loss = torch.nn.functional.mse_loss(logits[:, 0], gold.float())
                else:
                    loss = torch.nn.functional.cross_entropy(logits, gold)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad(set_to_none=True)
    model.eval()
    found = [None] * len(dev)
    order = sorted(range(len(dev)), key=lambda i: len(dev_ids[i]))
    with answers, torch.inference_mode():
        for first in range(0, len(order), 64):
            index = order[first : first + 64]
            for i, row in zip(index, logits_of(index, dev_ids, dev_types).tolist(), strict=True):
                found[i] = row
    peerlib.emit(
        {
            **clock.rates("examples", args.epochs * len(ids)),
            **answers.rates("answers", len(dev)),
            "tokenize_s": round(tokenize_s, 3),
            "logits": found,
        },
        args.json_out,
    )


if __name__ == "__main__":
    main()
