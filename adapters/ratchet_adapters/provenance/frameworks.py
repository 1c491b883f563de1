"""The headings an auditor asks under, and which findings could answer each.

It must not know any adapter. A heading without findings is one that nothing this program records can answer; it stays
in the index so that somebody sees it is open. Titles are shortened: the sources named are the authority.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FRAMEWORKS", "Framework", "Heading"]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading: its number in the source, its shortened title and the names of findings."""

    id: str
    title: str
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Framework:
    """A framework and where its text is."""

    name: str
    source: str
    headings: tuple[Heading, ...]


_ANNEX_IV = Framework(
    "EU AI Act, Annex IV",
    "Regulation (EU) 2024/1689, Annex IV",
    (
        Heading("1", "General description: identity and version", ("identity", "base")),
        Heading("1(a)", "Intended purpose and provider"),
        Heading("1(c)", "Versions of relevant software", ("code",)),
        Heading("2(a)", "Methods and steps of development, use of pre-trained systems", ("training", "base")),
        Heading("2(b)", "Design: what is optimised for, key choices", ("training", "policy")),
        Heading("2(c)", "Architecture and computational resources", ("scope",)),
        Heading("2(d)", "Data: provenance, scope, selection, cleaning", ("sources", "data_checks", "privacy")),
        Heading("2(e)", "Human oversight measures", ("reviews",)),
        Heading("2(f)", "Pre-determined changes"),
        Heading("2(g)", "Validation and testing: metrics, logs, reports", ("metrics", "results", "proof")),
        Heading("2(h)", "Cybersecurity measures", ("signature",)),
        Heading("3", "Monitoring, functioning and control: limits, foreseeable risks", ("metrics",)),
        Heading("4", "Appropriateness of the performance metrics"),
        Heading("5", "Risk management system (Article 9)"),
        Heading("6", "Changes through the lifecycle", ("changes", "promotions", "rollbacks")),
        Heading("7", "Harmonised standards applied"),
        Heading("8", "EU declaration of conformity"),
        Heading("9", "Post-market monitoring (Article 72)"),
    ),
)

_NIST = Framework(
    "NIST AI RMF",
    "NIST AI 100-1 (AI RMF 1.0), tables 1 to 4",
    (
        Heading("GOVERN 1", "Policies and procedures are in place and followed", ("policy",)),
        Heading("GOVERN 2", "Accountability: who decided", ("reviews", "promotions", "rollbacks")),
        Heading("GOVERN 3", "Diversity of the teams that decide"),
        Heading("GOVERN 4", "A culture that considers and tells of risk"),
        Heading("GOVERN 5", "Engagement with those affected"),
        Heading("GOVERN 6", "Third-party software and data", ("sources", "base", "code")),
        Heading("MAP 1", "Context is established"),
        Heading("MAP 2", "The system is categorised: tasks and methods", ("training", "base")),
        Heading("MAP 3", "Capabilities, use, benefits and costs"),
        Heading("MAP 4", "Risks of all components, third parties' included", ("sources", "data_checks")),
        Heading("MAP 5", "Impacts on people"),
        Heading("MEASURE 1", "Methods and metrics are chosen and applied", ("metrics", "policy")),
        Heading("MEASURE 2", "The system is evaluated", ("results", "proof", "privacy")),
        Heading("MEASURE 3", "Risks are tracked over time", ("reviews", "rollbacks")),
        Heading("MEASURE 4", "Feedback on how well is measured"),
        Heading("MANAGE 1", "Risks are acted on by what was measured", ("results", "promotions")),
        Heading("MANAGE 2", "Means to supersede, disengage or deactivate", ("rollbacks",)),
        Heading("MANAGE 3", "Risks from third parties are managed", ("base", "sources")),
        Heading("MANAGE 4", "Treatments and recovery are recorded and watched", ("changes", "rollbacks")),
    ),
)

_AISVS = Framework(
    "OWASP AISVS C11.9",
    "OWASP AI Security Verification Standard 1.0, C11.9 Self-Modification & Autonomous Update Security",
    (
        Heading("11.9.1", "Self-modification stays in designated areas", ("scope", "base")),
        Heading("11.9.2", "Assessed or validated before it takes effect", ("results", "policy")),
        Heading("11.9.3", "Logged: what, when, by whom, under what authorisation", ("changes", "promotions")),
        Heading("11.9.4", "Reversible and verified for integrity", ("rollbacks", "identity", "signature")),
        Heading("11.9.5", "Bounded in scope", ("scope", "policy", "caps")),
        Heading(
            "11.9.6",
            "Flagged traffic as training signal: integrity, poisoning checks, human review",
            ("reviews", "data_checks", "caps", "sources"),
        ),
    ),
)

FRAMEWORKS = (_ANNEX_IV, _NIST, _AISVS)
