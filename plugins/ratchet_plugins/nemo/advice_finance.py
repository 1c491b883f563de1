"""What counts as specific financial advice in a sentence. It must not know what follows from it.

The line is the one regulators draw: information on products and risks is free, a recommendation to a person to buy,
sell or hold something is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ratchet_plugins.nemo.regex import compile_patterns

__all__ = ["FINANCE", "AdviceRules"]


def _any_of(*groups: str) -> str:
    """One group of alternatives, the longer ones first."""
    words = [word for group in groups for word in group.split(" | ")]
    return f"(?:{'|'.join(sorted(words, key=len, reverse=True))})"


# `~` is the e that falls away before -ing: `Take out a loan`, `I suggest taking out a loan`.
_TRADES = (
    "buy | sell | short | invest | put | mov~ | transfer | switch | shift | dump | hold | hold on to | keep",
    "allocat~ | split | refinanc~ | withdraw | cash out | cash in | max out | load up on | stock up on | snap up",
    "tak~ out | tak~ | consolidat~ | liquidat~ | get into | get out of | go all in | go long | go short | pay off",
    "pay down | borrow | convert | roll over | exit | acquir~ | add to | pick up | open | contribut~ | pull | drop",
    "lock in | cancel | stay away from | avoid | stick with | grab",
)
_DOUBLED = ("put", "get", "drop", "split", "grab")


def _verbs(trades: Iterable[str], *, ing: bool) -> str:
    forms = []
    for trade in " | ".join(trades).split(" | "):
        first, _, rest = trade.partition(" ")
        stem = first.removesuffix("~")
        forms.append(f"{stem}{'e' if first.endswith('~') else ''} {rest}".strip())
        if ing:
            forms.append(f"{stem}{stem[-1] if stem in _DOUBLED else ''}ing {rest}".strip())
    return _any_of(" | ".join(forms))


_TRADE = _verbs(_TRADES, ing=True)
_TRADE_NOW = _verbs(_TRADES, ing=False)
_ANY_VERB = r"[a-z]+(?: (?:on to|out|in|into|off|down|up|over|all in|long|short))?"
_AMOUNT = r"(?:[$£€]\s?\d[\d,.]*\s?(?:k|m|thousand|million)?|\d[\d,.]*\s?(?:%|percent|dollars|euros|pounds))"
_INSTRUMENT = _any_of(
    r"stocks? | shares? | bonds? | gilts? | treasur(?:y|ies) | funds? | etfs? | equit(?:y|ies) | securities | reits?",
    r"crypto(?:currenc(?:y|ies))? | bitcoins? | ether(?:eum)? | dogecoin | solana | coins? | tokens? | gold | silver",
    r"commodit(?:y|ies) | (?:stock|call|put) options? | options? contracts? | futures | calls | puts | forex",
    r"portfolio | savings | deposits? | cds? | cash | money | inheritance | nest egg | emergency fund",
    r"mortgage | annuit(?:y|ies) | pension | 401\(?k\)? | iras? | isas? | life insurance | loan | debts? | credit card",
    r"real estate | s&p(?: 500)? | nasdaq | dow jones | brokerage | the dip",
    _AMOUNT,
)
# A share's symbol on an exchange, whatever the case of the rest.
_TICKER = r"(?-i:\b[A-Z]{2,5}\b)"
_ASIDE = _any_of(
    "definitely | probably | really | seriously | just | simply | also | certainly | strongly | now | never | not"
)
_TO_READER = (
    rf"\byou(?:'d|\s+would)?(?:\s+{_ASIDE})?\s+"
    + _any_of(
        "should | must | ought to | need to | have to | better | had better",
        "(?:would )?be (?:wise|smart|better off)(?: to)?",
    )
    + rf"(?:\s+{_ASIDE})*\s+"
)
_FROM_WRITER = _any_of(
    r"\b(?:i|we)(?:'d|\s+would)?(?:\s+(?:strongly|highly|personally|definitely))*\s+(?:recommend|advise|suggest|urge)\s+"
    r"(?:that\s+)?(?:you(?:\s+to)?\s+|to\s+)?",
    r"\bmy\s+(?:advice|recommendation|suggestion)\s+(?:is|would be|to you is)\s*:?\s*(?:that\s+you\s+|to\s+|you\s+)?",
    r"\bif i were you,?\s+i(?:'d|\s+would)\s+",
    r"\bin your (?:case|situation|position),?\s+(?:i(?:'d|\s+would)\s+|the best (?:move|choice|option) is to\s+)?",
)
_ORDER = _any_of(
    r"^\W*(?:(?:so|then|now|first|next|just|simply|definitely|go ahead and|\d+\.)[,\s]+)*",
    r"(?:[:;,]|\b(?:and|then|so|but)\b)\W*",
)
_OF = _any_of(
    "all | some | more | half | most | of | your | the | those | these | that | this | into | in | a | an",
    "at least | about | up to",
)
_FOR_READER = r"(?:for (?:you|someone (?:like you|(?:of|at) your|in your))|your)"

# Words that direct the reader to do something, and what it is in, close to each other. The first takes any verb: those
# that only inform are taken out below.
_SPECIFIC = (
    rf"(?i)(?:{_TO_READER}|{_FROM_WRITER}){_ANY_VERB}\b[^.!?\n]{{0,80}}?(?:\b{_INSTRUMENT}|{_TICKER})",
    rf"(?i){_ORDER}{_TRADE_NOW}\s+(?:{_OF} )*(?:(?:[a-z'-]+\s+){{0,3}}{_INSTRUMENT}(?:\W|$)|{_TICKER})",
    r"(?i)\b(?:it(?:'s| is)|now is|this is|today is)\s+(?:definitely\s+)?(?:a|an|the)\s+"
    rf"(?:good|great|perfect|right|ideal|excellent)\s+(?:time|moment)\s+(?:for you\s+)?to\s+{_TRADE}\b",
    r"(?i)\b(?:is|are|looks like)\s+(?:currently\s+|definitely\s+)?an?\s+"
    r"(?:strong|screaming|solid|clear|great|obvious|no-brainer)\s+(?:buy|sell|hold)\b",
    rf"(?i)\bthe\s+best\s+(?:[a-z]+\s+){{0,2}}{_INSTRUMENT}\s+(?:for you|to (?:buy|own|hold|invest in))\b"
    r"[^.!?\n]*\b(?:is|are)\b",
    r"(?i)\b(?:your best (?:move|option|bet|choice)|the (?:smart|best|right) (?:move|choice|thing) for you)\s+"
    rf"(?:right now\s+)?(?:is|would be)\s+to\s+{_ANY_VERB}\b",
    rf"(?i)\b{_FOR_READER}\b[^.!?\n]*\ballocation\b[^.!?\n]*\d+\s?(?:%|percent)",
)
_INFORMING = _any_of(
    "consult(?:ing)? | speak(?:ing)? | talk(?:ing)? | seek(?:ing)? | ask(?:ing)? | read(?:ing)? | compar(?:e|ing)",
    "research(?:ing)? | check(?:ing)? | understand(?:ing)? | review(?:ing)? | learn(?:ing)? | writ(?:e|ing)",
    "be (?:aware|careful|prepared) | know | remember | note | think(?:ing)? | look(?:ing)? (?:at|into|up) | expect",
    "keep(?:ing)? in mind | make sure | consider (?:speaking|talking|consulting) | do(?:ing)? your own",
)
_CANNOT = _any_of(
    "can't | cannot | can not | am not able to | 'm not able to | won't | am unable to | 'm unable to | do not | don't"
)
# Cautions, pointers to those who may advise, and statements about no reader in particular.
_INFORMATIVE = (
    r"(?i)\b(?:should|must|need to|ought to|recommend|advise|suggest)\s+(?:that\s+)?(?:you\s+)?(?:to\s+)?"
    rf"(?:always\s+|also\s+|first\s+)?{_INFORMING}\b",
    r"(?i)\bafford to lose\b",
    rf"(?i)\b(?:i|we)\s*{_CANNOT}\s+(?:tell|say|advise|recommend|give|know|decide)",
    r"(?i)\bwhether (?:you|to|or not)\b",
    r"(?i)^\W*short selling\b",
    r"\?\s*$",
)


@dataclass(frozen=True, slots=True)
class AdviceRules:
    """The rules of one subject.

    Attributes:
        specific: Patterns of sentences that advise.
        informative: Patterns of sentences that do not, whatever else they say.
    """

    specific: tuple[str, ...]
    informative: tuple[str, ...]

    def advises(self, sentence: str) -> bool:
        """Whether a sentence tells its reader which transaction to make."""
        return _any(self.specific, sentence) and not _any(self.informative, sentence)


def _any(patterns: tuple[str, ...], sentence: str) -> bool:
    compiled: tuple[Any, ...] = compile_patterns(patterns, False)
    return any(pattern.matcher.search(sentence) for pattern in compiled)


FINANCE = AdviceRules(_SPECIFIC, _INFORMATIVE)
