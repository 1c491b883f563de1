"""What the policy-gradient trainers share: the order of prompts, seeded sampling, the reward, log-probabilities.

It must not know how advantages are made of rewards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from random import Random
from typing import Any, cast

import torch

from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.precision import products
from ratchet_adapters.training.errors import PromptsMissing
from ratchet_adapters.training.penalty import penalty
from ratchet_adapters.training.policy import PolicySettings
from ratchet_adapters.training.rewards.combined import Combined, Constraint
from ratchet_adapters.training.rewards.reward import BaseModelFolder, Turn, reward
from ratchet_adapters.training.trainers.generation import rendered
from ratchet_adapters.training.trainers.session import Session, Work, start_folder, tokens_of

__all__ = ["PolicyMixin", "combined_reward", "order_of_prompts", "policy_work", "prompt_table", "reward_function"]

_SHOWN = {
    "reward": "reward",
    "kl": "kl",
    "entropy": "entropy",
    "frac_reward_zero_std": "groups.same",
    "completions/mean_length": "answer.tokens",
    "grad_norm": "grad_norm",
}


def combined_reward(session: Session) -> Combined:
    """Return the reward of the recipe."""
    settings = cast(PolicySettings, session.job.settings)
    base = BaseModelFolder(session.job.model, session.job.base_fingerprint)
    return Combined(
        reward(settings.helpful.name, settings.helpful.options, base),
        reward(settings.safe.name, settings.safe.options, base),
        needless_refusal=settings.needless_refusal,
        constraints={
            name: Constraint(penalty(name, rule.options), rule.weight) for name, rule in settings.rules.items()
        },
    )


def order_of_prompts(session: Session) -> list[Row]:
    """Return the rows whose prompts are sampled from, in order, for all steps; none when there is nothing to train on.

    The share of benign prompts holds at every point of the order, to the prompt.

    Raises:
        PromptsMissing: Rows of one kind only, though the recipe asks for both.
    """
    settings = cast(PolicySettings, session.job.settings)
    rng = Random(settings.seed)
    harmful = _fitting(session, RowKind.REFUSAL)
    benign = _fitting(session, RowKind.CONTRAST, RowKind.REPLAY)
    if not harmful and not benign:
        return []
    for kind, rows, share in (
        ("harmful", harmful, 1 - settings.benign_share),
        ("benign", benign, settings.benign_share),
    ):
        if share and not rows:
            raise PromptsMissing(session.job.dataset, kind)
    per_step = settings.batch_size // settings.group_size
    pool = len(harmful) / (1 - settings.benign_share) if settings.benign_share < 1 else len(benign)
    steps = min(settings.most_steps, max(1, math.ceil(settings.epochs * pool / per_step)))
    streams = {False: _endless(harmful, rng), True: _endless(benign, rng)}
    share = settings.benign_share
    return [
        next(streams[math.floor((number + 1) * share + 1e-9) > math.floor(number * share + 1e-9)])
        for number in range(steps * per_step)
    ]


def prompt_table(rows: Sequence[Row], settings: PolicySettings) -> Any:
    """Return the rows as the table that TRL samples from, some with a guide: an answer to put into their group."""
    from datasets import Dataset as Table

    rng = Random(f"{settings.seed}:guides")
    return Table.from_list(
        [
            {
                "prompt": [{"role": "user", "content": row.prompt}],
                "harmful": row.kind is RowKind.REFUSAL,
                "category": row.category,
                "guide": row.target if rng.random() < settings.guide_share and row.kind is RowKind.REFUSAL else "",
            }
            for row in rows
        ]
        # TRL wants a row; without any, the training is refused before it begins.
        or [{"prompt": [{"role": "user", "content": ""}], "harmful": False, "category": "", "guide": ""}]
    )


def policy_work(session: Session, policy: type[Any], arguments: type[Any], **own: Any) -> Work:
    """Return the work of a policy-gradient method.

    Args:
        session: Of the job.
        policy: `PolicyMixin` before a trainer of TRL's.
        arguments: That trainer's configuration.
        own: What the method adds to it.

    Raises:
        PromptsMissing: As `order_of_prompts`.
        RewardUnknown, RewardOptionsInvalid, PenaltyUnknown, PenaltyOptionsInvalid: The recipe names what is not there.
    """
    settings = cast(PolicySettings, session.job.settings)
    rows = order_of_prompts(session)
    trainer = policy(
        model=session.model,
        reward_funcs=reward_function(combined_reward(session)),
        args=session.arguments(arguments, **_arguments(settings, rows), **own),
        train_dataset=prompt_table(rows, settings),
        processing_class=session.tokenizer,
        autocast=session.precision == "bf16",
        continues=start_folder(session.job) is not None,
    )
    distinct = list({row.id: row for row in rows}.values())
    return Work(trainer, rows=len(distinct), tokens=tokens_of(distinct, session.tokenizer))


def _arguments(settings: PolicySettings, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the arguments that both of TRL's configurations take."""
    per_step = settings.batch_size // settings.group_size
    return {
        "max_steps": max(1, len(rows) // per_step),
        "num_generations": settings.group_size,
        "max_completion_length": settings.answer_tokens,
        "temperature": settings.temperature,
        "beta": settings.beta,
        # The order is drawn once for all steps, so that a resumed training goes on in it.
        "shuffle_dataset": False,
        "remove_unused_columns": False,
        "disable_dropout": True,
    }


def reward_function(combined: Combined) -> Any:
    """Return the reward as TRL calls it."""

    def helpful_and_safe(
        prompts: Sequence[Any],
        completions: Sequence[Any],
        harmful: Sequence[bool],
        category: Sequence[str],
        likelihood: Sequence[float],
        log_metric: Any = None,
        **_: Any,
    ) -> list[float]:
        turns = [
            Turn(prompt[-1]["content"], said[-1]["content"], asks_harm, kind, known)
            for prompt, said, asks_harm, kind, known in zip(
                prompts, completions, harmful, category, likelihood, strict=True
            )
        ]
        scores = combined(turns)
        if log_metric is not None:
            for name, value in scores.parts.items():
                log_metric(name, value)
            log_metric("benign.share", 1.0 - sum(harmful) / len(harmful))
        return list(scores.total)

    return helpful_and_safe


class PolicyMixin:
    """Goes in front of a TRL trainer: see the module.

    TRL scores every position against the whole vocabulary where there is no Triton; with a 49k vocabulary and answers
    of 20 tokens that is most of a step. Here only the answers' positions reach the output layer.
    """

    def __init__(self, *args: Any, autocast: bool, continues: bool, **kwargs: Any) -> None:
        """`continues`: the adapter was trained before, and stays the reference as it was then."""
        super().__init__(*args, **kwargs)
        self._in_bfloat16 = autocast
        self._last_logps: torch.Tensor | None = None
        self._guides: list[str] = []
        this = cast(Any, self)
        inner = this.accelerator.unwrap_model(this.model)
        if "ref" in inner.peft_config and not continues:
            # A copy of the untrained adapter, which changes nothing; the base model without any is the same for free.
            inner.delete_adapter("ref")

    def _precision(self) -> AbstractContextManager[Any]:
        device = cast(Any, self).accelerator.device.type
        return products(device, in_bfloat16=self._in_bfloat16)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """Sample and score under a seed of the step's own, so that a resumed training samples the same."""
        this = cast(Any, self)
        # TRL's own count of parts begins at 0 again after a resume; the trainer's steps go on.
        seed = Random(f"{this.args.seed}:{this.state.global_step}").getrandbits(31)
        if this._buffered_inputs is not None and this._step % this.args.steps_per_generation:
            return cast(Any, super())._prepare_inputs(generation_batch)
        with torch.random.fork_rng(), self._precision():
            torch.manual_seed(seed)
            return cast(Any, super())._prepare_inputs(generation_batch)

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        """Remember which answers are guided while they are made."""
        self._guides = [str(example["guide"]).strip() for example in inputs]
        return cast(Any, super())._generate_and_score_completions(inputs)

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        """Sample, then put the guides in the place of the last answers of their groups."""
        found = cast(Any, super())._generate_single_turn(*args, **kwargs)
        completions = found[0] if isinstance(found, tuple) else found
        this = cast(Any, self)
        tokenizer, limit = this.processing_class, this.max_completion_length
        for last in range(this.num_generations - 1, len(completions), this.num_generations):
            if self._guides[last]:
                ids = tokenizer(self._guides[last], add_special_tokens=False)["input_ids"]
                completions[last] = [*ids, tokenizer.eos_token_id][:limit]
        return found

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        """Add the reference's opinion of each answer to what the reward sees."""
        logps, self._last_logps = self._last_logps, None
        likelihood = [
            float(logps[number, : len(ids)].mean()) if logps is not None and len(ids) else math.nan
            for number, ids in enumerate(completion_ids_list)
        ]
        known = [{**example, "likelihood": value} for example, value in zip(inputs, likelihood, strict=True)]
        return cast(Any, super())._calculate_rewards(known, prompts, completions, completion_ids_list)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """Return the loss of one part of a step."""
        with self._precision():
            return cast(Any, super()).compute_loss(*args, **kwargs)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """Return log-probabilities (and entropies) of the last `logits_to_keep` tokens, of shape (rows, tokens)."""
        this = cast(Any, self)
        causal = this.accelerator.unwrap_model(model).get_base_model()
        size = batch_size or len(input_ids)
        logps, entropies = [], []
        for start in range(0, len(input_ids), size):
            ids = input_ids[start : start + size]
            mask = attention_mask[start : start + size]
            hidden = causal.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            logits = causal.get_output_embeddings()(hidden[:, -logits_to_keep - 1 : -1]).float()
            spread = (logits / this.temperature).log_softmax(-1)
            logps.append(spread.gather(-1, ids[:, -logits_to_keep:, None])[..., 0])
            if compute_entropy:
                with torch.no_grad():
                    entropies.append(-(spread.exp() * spread).sum(-1))
        found = torch.cat(logps)
        if not torch.is_grad_enabled() and this.beta:
            # With a KL the last of these calls before the rewards is the reference's.
            self._last_logps = found.detach()
        return found, torch.cat(entropies) if compute_entropy else None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Keep of TRL's numbers those that say how the policy does."""
        this = cast(Any, self)
        metrics = this._metrics["train"]
        for name in [
            name for name in metrics if name not in _SHOWN and "." not in name and name not in ("helpful", "safe")
        ]:
            del metrics[name]
        for name, shown in _SHOWN.items():
            if name in metrics and name != shown:
                metrics[shown] = metrics.pop(name)
        cast(Any, super()).log(logs, start_time)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Checkpoints need no card; the adapter gets its own."""


def _fitting(session: Session, *kinds: RowKind) -> list[Row]:
    tokenizer, limit = session.tokenizer, session.job.settings.prompt_tokens
    return [
        row
        for row in session.rows(*kinds)
        if len(tokenizer(rendered(tokenizer, row.prompt), add_special_tokens=False)["input_ids"]) <= limit
    ]


def _endless(rows: Sequence[Row], rng: Random) -> Iterator[Row]:
    while rows:
        yield from rng.sample(list(rows), len(rows))
