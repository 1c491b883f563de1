"""The search: asks Optuna for recipes, has each trained and measured, and remembers all of it on disk.

It must not know how a trial is trained or measured: it is handed a `Trainer` and an `Evaluator`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from filelock import FileLock, Timeout

from ratchet_adapters.errors import AdaptersError
from ratchet_adapters.training.errors import TrainingCancelled
from ratchet_adapters.tuning.errors import SearchBusy, SearchOfOther
from ratchet_adapters.tuning.front import front
from ratchet_adapters.tuning.objectives import DIRECTIONS, Measured
from ratchet_adapters.tuning.space import Choice, Integer, Space

__all__ = ["Done", "Evaluator", "Found", "Search", "Trainer"]

_JOURNAL = "study.log"
_IDENTITY = "search.json"
_LOCK = "lock"
_POPULATION = 16
_RANDOM_TRIALS = 8
"""Before TPE has enough to model."""


class Trainer(Protocol):
    """Makes an adapter of some options."""

    def __call__(self, options: Mapping[str, Any], folder: Path, should_stop: Callable[[], bool]) -> Path:
        """Return the adapter's folder, in `folder`; called again after a kill, it continues there.

        Raises:
            TrainingCancelled: `should_stop` returned true.
            AdaptersError: These options can not be trained.
        """
        ...


class Evaluator(Protocol):
    """Measures an adapter on the validation split."""

    def __call__(self, adapter: Path | None) -> Measured:
        """Return its figures, without `nll_change`; those of the base model for None."""
        ...


@dataclass(frozen=True)
class Done:
    """A finished trial.

    Attributes:
        number: Of the trial.
        params: What the search chose, by path.
        options: Of the run.
        measured: Its figures; None when it failed.
        failure: Why it failed.
        seconds: Training and measuring.
    """

    number: int
    params: Mapping[str, Any]
    options: Mapping[str, Any]
    measured: Measured | None
    failure: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        method: Training method.
        base: The base model's figures.
        done: Every finished trial, in order.
    """

    method: str
    base: Measured
    done: tuple[Done, ...]
    front: tuple[Done, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Find the front."""
        object.__setattr__(self, "front", front(self.done))


class Search:
    """One search, in one folder."""

    def __init__(
        self,
        space: Space,
        trainer: Trainer,
        evaluator: Evaluator,
        out: Path,
        *,
        sampler: Literal["tpe", "nsga2"] | str = "tpe",
        seed: int = 0,
        identity: str = "",
    ) -> None:
        """Set it up; nothing is done yet.

        Args:
            space: What is searched.
            trainer: Makes adapters.
            evaluator: Measures them.
            out: Folder of the search; a started one is continued.
            sampler: "tpe", or "nsga2" for many trials.
            seed: Of the search.
            identity: Of what trials are trained and judged on: a folder of another one is refused.
        """
        self._space = space
        self._trainer = trainer
        self._evaluator = evaluator
        self._out = out
        self._sampler = sampler
        self._seed = seed
        self._identity = {
            "space": space.model_dump(mode="json"), "sampler": sampler, "seed": seed, "validation": identity
        }  # fmt: skip

    def run(self, *, trials: int, minutes: float, on_trial: Callable[[Done], None] | None = None) -> Found:
        """Search until so many trials are finished, or the time is over.

        A trial that the end of the time, a kill or a crash cut short is marked failed and comes again first in the
        next call, from its last checkpoint. One that can not be trained (a loss that diverged) is failed for good.

        Raises:
            SearchBusy: Another process searches here.
            SearchOfOther: The folder holds another search.
        """
        deadline = time.monotonic() + 60 * minutes
        with self._claimed():
            study = self._study()
            self._put_back(study)
            base = self._base()
            while len(self._done(study)) < trials and time.monotonic() < deadline:
                done = self._trial(study, base, lambda: time.monotonic() >= deadline)
                if done is not None and on_trial is not None:
                    on_trial(done)
            return Found(self._space.method, base, tuple(self._done(study)))

    def _trial(self, study: Any, base: Measured, should_stop: Callable[[], bool]) -> Done | None:
        from optuna.trial import TrialState

        trial = study.ask()
        options = self._space.options(self._suggested(trial))
        began = time.monotonic()
        try:
            # The same options work in the same folder, so that a trial put back continues.
            adapter = self._trainer(options, self._out / "trials" / _digest(options), should_stop)
            measured = self._changed(self._evaluator(adapter), base)
        except TrainingCancelled:
            self._again(study, trial.number)
            return None
        except AdaptersError as error:
            trial.set_user_attr("failure", f"{type(error).__name__}: {error}")
            study.tell(trial.number, state=TrialState.FAIL)
        else:
            if measured.finite():
                trial.set_user_attr("measured", asdict(measured))
                trial.set_user_attr("seconds", time.monotonic() - began)
                study.tell(trial.number, list(measured.values))
            else:
                trial.set_user_attr("failure", "a figure is not finite")
                study.tell(trial.number, state=TrialState.FAIL)
        return self._done(study)[-1]

    def _suggested(self, trial: Any) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for path, parameter in self._space.search.items():
            if isinstance(parameter, Choice):
                values[path] = trial.suggest_categorical(path, list(parameter.of))
            elif isinstance(parameter, Integer):
                values[path] = trial.suggest_int(path, parameter.low, parameter.high, log=parameter.log)
            else:
                values[path] = trial.suggest_float(path, parameter.low, parameter.high, log=parameter.log)
        return values

    def _done(self, study: Any) -> list[Done]:
        found = []
        for trial in study.get_trials(deepcopy=False):
            measured = trial.user_attrs.get("measured")
            failure = trial.user_attrs.get("failure", "")
            # Those put back have neither, and are not counted: they come again.
            if measured is None and not failure:
                continue
            if measured is not None and trial.state.name != "COMPLETE":
                continue
            found.append(
                Done(
                    number=trial.number,
                    params=trial.params,
                    options=self._space.options(trial.params),
                    measured=None if measured is None else Measured(**measured),
                    failure=failure,
                    seconds=trial.user_attrs.get("seconds", 0.0),
                )
            )
        return found

    def _put_back(self, study: Any) -> None:
        """What a process that was killed left running. Nobody else works here: the lock is held."""
        from optuna.trial import TrialState

        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            if len(trial.params) == len(self._space.search):
                self._again(study, trial.number)
            else:
                study.tell(trial.number, state=TrialState.FAIL)

    def _again(self, study: Any, number: int) -> None:
        from optuna.trial import TrialState

        params = study.get_trials()[number].params
        study.tell(number, state=TrialState.FAIL)
        study.enqueue_trial(params, user_attrs={"again": number})

    def _base(self) -> Measured:
        path = self._out / "base.json"
        if path.exists():
            return Measured(**json.loads(path.read_text(encoding="utf-8")))
        found = self._evaluator(None)
        _write(path, asdict(found))
        return found

    def _changed(self, measured: Measured, base: Measured) -> Measured:
        return Measured(measured.refusal, measured.over_refusal, measured.nll, measured.nll - base.nll)

    def _study(self) -> Any:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name="ratchet",
            storage=JournalStorage(JournalFileBackend(str(self._out / _JOURNAL))),
            directions=list(DIRECTIONS),
            load_if_exists=True,
        )
        # A sampler begun anew with the same seed would propose again what it has proposed.
        seed = self._seed + len(study.get_trials(deepcopy=False))
        study.sampler = (
            optuna.samplers.NSGAIISampler(population_size=_POPULATION, seed=seed)
            if self._sampler == "nsga2"
            else optuna.samplers.TPESampler(n_startup_trials=_RANDOM_TRIALS, seed=seed)
        )
        return study

    @contextmanager
    def _claimed(self) -> Iterator[None]:
        self._out.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._out / _LOCK, timeout=0):
                self._identify()
                yield
        except Timeout:
            raise SearchBusy(self._out) from None

    def _identify(self) -> None:
        path = self._out / _IDENTITY
        wanted = json.loads(json.dumps(self._identity))
        if not path.exists():
            _write(path, wanted)
            return
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            known = {}
        if known != wanted:
            raise SearchOfOther(self._out, [key for key in wanted if known.get(key) != wanted[key]])


def _digest(options: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:12]


def _write(path: Path, value: Any) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)
