"""Inner training once more, in NumPy and float64, with gradients by hand: what torch is compared with.

A Llama with grouped-query attention, RoPE, SwiGLU and tied embeddings; packed documents; the mean loss
of a step's tokens; clipping; AdamW. Written from the papers, not from the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ayni.lm.inner.settings import Optimiser, Shape

EPS = 1e-6  # of RMSNorm


@dataclass
class Reference:
    """Parameters by transformers' names, and AdamW's moments."""

    shape: Shape
    optimiser: Optimiser
    parameters: dict[str, Any]
    steps: int = 0
    first: dict[str, Any] = field(default_factory=dict)
    second: dict[str, Any] = field(default_factory=dict)

    def step(self, rows: list[tuple[Any, Any]], rate: float) -> float:
        """One step on rows of (tokens, segments), each one longer than its inputs; the loss before it."""
        gradients = {name: np.zeros_like(p) for name, p in self.parameters.items()}
        predicted = sum(int((segments[1:] == segments[:-1]).sum()) for _, segments in rows)
        nats = 0.0
        for tokens, segments in rows:
            nats += self._row(tokens, segments, predicted, gradients)
        norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))
        scale = min(1.0, self.optimiser.clip / (norm + 1e-6))
        self._adamw({name: g * scale for name, g in gradients.items()}, rate)
        return nats / predicted

    def _adamw(self, gradients: dict[str, Any], rate: float) -> None:
        self.steps += 1
        o = self.optimiser
        for name, g in gradients.items():
            p = self.parameters[name]
            m = self.first[name] = o.beta1 * self.first.get(name, 0) + (1 - o.beta1) * g
            v = self.second[name] = o.beta2 * self.second.get(name, 0) + (1 - o.beta2) * g**2
            if p.ndim == 2:
                p -= rate * o.weight_decay * p
            unbiased = m / (1 - o.beta1**self.steps)
            p -= rate * unbiased / (np.sqrt(v / (1 - o.beta2**self.steps)) + o.eps)

    def _row(self, tokens: Any, segments: Any, predicted: int, gradients: dict[str, Any]) -> float:
        """Adds a row's gradients; gives the sum of its losses."""
        p = self.parameters
        inputs, goals = tokens[:-1], tokens[1:]
        counted = segments[1:] == segments[:-1]
        allowed = np.tril(segments[:-1, None] == segments[None, :-1])
        embedding = p["model.embed_tokens.weight"]
        hidden = embedding[inputs]
        turn = rotation(segments[:-1], self.shape)
        tapes = []
        for layer in range(self.shape.layers):
            hidden, tape = self._layer(layer, hidden, allowed, turn)
            tapes.append(tape)
        normed, norm_tape = rms(hidden, p["model.norm.weight"])
        logits = normed @ embedding.T
        logits -= logits.max(axis=1, keepdims=True)
        chances = np.exp(logits)
        chances /= chances.sum(axis=1, keepdims=True)
        places = np.arange(len(goals))
        nats = -np.log(chances[places, goals])[counted].sum()

        slope = chances
        slope[places, goals] -= 1
        slope *= counted[:, None] / predicted
        gradients["model.embed_tokens.weight"] += slope.T @ normed
        back, weight = rms_back(slope @ embedding, norm_tape)
        gradients["model.norm.weight"] += weight
        for layer in reversed(range(self.shape.layers)):
            back = self._layer_back(layer, back, tapes[layer], turn, gradients)
        np.add.at(gradients["model.embed_tokens.weight"], inputs, back)
        return float(nats)

    def _layer(self, layer: int, hidden: Any, allowed: Any, turn: Any) -> tuple[Any, Any]:
        w = self._of(layer)
        heads, groups, size = self.shape.heads, self.shape.key_value_heads, self.shape.head_size
        length = len(hidden)
        normed, norm1 = rms(hidden, w["input_layernorm"])
        q = rotate((normed @ w["self_attn.q_proj"].T).reshape(length, heads, size), turn)
        k = rotate((normed @ w["self_attn.k_proj"].T).reshape(length, groups, size), turn)
        v = (normed @ w["self_attn.v_proj"].T).reshape(length, groups, size)
        keys, values = (np.repeat(x, heads // groups, axis=1) for x in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, keys) / np.sqrt(size)
        scores = np.where(allowed, scores, -np.inf)
        attention = np.exp(scores - scores.max(axis=2, keepdims=True))
        attention /= attention.sum(axis=2, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", attention, values).reshape(length, -1)
        middle = hidden + mixed @ w["self_attn.o_proj"].T
        normed2, norm2 = rms(middle, w["post_attention_layernorm"])
        gate, up = normed2 @ w["mlp.gate_proj"].T, normed2 @ w["mlp.up_proj"].T
        sigmoid = 1 / (1 + np.exp(-gate))
        product = gate * sigmoid * up
        tape = (normed, norm1, q, keys, values, attention, mixed)
        tape += (normed2, norm2, gate, up, sigmoid, product)
        return middle + product @ w["mlp.down_proj"].T, tape

    def _layer_back(
        self, layer: int, back: Any, tape: Any, turn: Any, gradients: dict[str, Any]
    ) -> Any:
        w = self._of(layer)
        heads, groups, size = self.shape.heads, self.shape.key_value_heads, self.shape.head_size
        length = len(back)
        normed, norm1, q, keys, values, attention, mixed = tape[:7]
        normed2, norm2, gate, up, sigmoid, product = tape[7:]

        def add(name: str, gradient: Any) -> None:
            gradients[f"model.layers.{layer}.{name}.weight"] += gradient

        add("mlp.down_proj", back.T @ product)
        d_product = back @ w["mlp.down_proj"]
        d_up = d_product * gate * sigmoid
        d_gate = d_product * up * sigmoid * (1 + gate * (1 - sigmoid))
        add("mlp.up_proj", d_up.T @ normed2)
        add("mlp.gate_proj", d_gate.T @ normed2)
        d_normed2 = d_up @ w["mlp.up_proj"] + d_gate @ w["mlp.gate_proj"]
        through, weight = rms_back(d_normed2, norm2)
        add("post_attention_layernorm", weight)
        back = back + through

        add("self_attn.o_proj", back.T @ mixed)
        d_mixed = (back @ w["self_attn.o_proj"]).reshape(length, heads, size)
        d_attention = np.einsum("qhd,khd->hqk", d_mixed, values)
        d_values = np.einsum("hqk,qhd->khd", attention, d_mixed)
        inner = (d_attention * attention).sum(axis=2, keepdims=True)
        d_scores = attention * (d_attention - inner) / np.sqrt(size)
        d_q = rotate(np.einsum("hqk,khd->qhd", d_scores, keys), turn, back=True)
        d_keys = np.einsum("hqk,qhd->khd", d_scores, q)
        shared = (length, groups, heads // groups, size)
        d_k = rotate(d_keys.reshape(shared).sum(axis=2), turn, back=True)
        d_v = d_values.reshape(shared).sum(axis=2)
        d_normed = 0.0
        for name, d in (("q_proj", d_q), ("k_proj", d_k), ("v_proj", d_v)):
            d = d.reshape(length, -1)
            add(f"self_attn.{name}", d.T @ normed)
            d_normed = d_normed + d @ w[f"self_attn.{name}"]
        through, weight = rms_back(d_normed, norm1)
        add("input_layernorm", weight)
        return back + through

    def _of(self, layer: int) -> dict[str, Any]:
        prefix = f"model.layers.{layer}."
        return {
            name.removeprefix(prefix).removesuffix(".weight"): p
            for name, p in self.parameters.items()
            if name.startswith(prefix)
        }


def rms(x: Any, weight: Any) -> tuple[Any, Any]:
    inverse = 1 / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS)
    return x * inverse * weight, (x, inverse, weight)


def rms_back(back: Any, tape: Any) -> tuple[Any, Any]:
    x, inverse, weight = tape
    scaled = back * weight
    along = (scaled * x).mean(axis=1, keepdims=True)
    return inverse * scaled - x * inverse**3 * along, (back * x * inverse).sum(axis=0)


def rotation(segments: Any, shape: Shape) -> tuple[Any, Any]:
    """Cosines and sines of RoPE (arXiv 2104.09864), [length, 1, head size / 2]; each document from 0."""
    begins = np.concatenate([[0], np.flatnonzero(np.diff(segments)) + 1])
    positions = (
        np.arange(len(segments))
        - begins[np.searchsorted(begins, np.arange(len(segments)), "right") - 1]
    )
    half = shape.head_size // 2
    speeds = shape.rope_theta ** (-np.arange(half) / half)
    angles = positions[:, None] * speeds
    return np.cos(angles)[:, None], np.sin(angles)[:, None]


def rotate(x: Any, turn: tuple[Any, Any], *, back: bool = False) -> Any:
    """Turn the pairs (i, i + half) of each head; `back` turns gradients the other way."""
    cos, sin = turn
    sin = -sin if back else sin
    one, two = np.split(x, 2, axis=2)
    return np.concatenate([one * cos - two * sin, two * cos + one * sin], axis=2)
