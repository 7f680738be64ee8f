"""What comments come to, in lines for a terminal."""

from __future__ import annotations

from reports.comments.compared import LEAST_SIDE
from reports.comments.free_text import FreeText, TopicShare
from reports.metrics import Result
from reports.rounding import rounded
from reports.words import Language, Words, number


def free_text_lines(text: FreeText, words: Words) -> list[str]:
    """The comments on one question for a terminal, without any comment."""
    own = _OWN[words.lang]
    stratum = text.stratum
    where = words.where(stratum)
    which = " · ".join(part for part in (stratum.wording_id, stratum.lang) if part)
    head = " ".join(part for part in (own["head"], f"[{text.instrument}]", where, f"({which})") if part)
    lines = [head, "  " + own["n"].format(n=number(text.n), missing=number(text.n_missing))]
    if text.status in ("suppressed", "no_data"):
        return [*lines, f"  {own['suppressed']}"]
    if text.status == "caution":
        lines.append("  " + own["caution"].format(n=number(text.n)))
    if text.topics:
        lines.append(f"  {own['topics']}")
        lines += [f"    {_topic_line(topic, words)}" for topic in text.topics]
    if text.polarity is not None:
        lines.append(f"  {own['polarity']} {_with_interval(text.polarity, words)}")
    elif text.validity_n:
        lines.append(f"  {own['no_polarity']}")
    if min(text.promoters, text.detractors) < LEAST_SIDE:
        least = own["few_sides"].format(least=LEAST_SIDE)
        return [*lines, f"  {least}"]
    for name, found in (("likes", text.promoter_words), ("dislikes", text.detractor_words)):
        listed = own["between"].join(
            own["word"].format(word=w.label, promoters=w.promoters, detractors=w.detractors, zeta=rounded(w.zeta, 2))
            for w in found
        )
        lines.append(f"  {own[name]} {listed or own['none']}")
    return lines


def _topic_line(topic: TopicShare, words: Words) -> str:
    own = _OWN[words.lang]
    name = topic.topic.names[words.lang]
    line = f"{name}{own['colon']}{_with_interval(topic.share, words)}"
    if topic.rating.score is None:
        return line
    return f"{line}{own['rating'].format(mean=words.score(topic.rating), n=number(topic.rating.n_valid))}"


def _with_interval(result: Result, words: Words) -> str:
    own = _OWN[words.lang]
    if result.score is None:
        return own["suppressed"]
    score = words.value(result.score, result.form)
    if result.ci_low is None or result.ci_high is None:
        return own["alone"].format(score=score, n=number(result.n_valid))
    interval = words.interval(result.ci_low, result.ci_high, result.form)
    return own["with"].format(score=score, n=number(result.n_valid), interval=interval)


_OWN: dict[Language, dict[str, str]] = {
    "ja": {
        "head": "コメントの言葉と話題",
        "n": "n={n}・未記入 {missing}",
        "suppressed": "n<10 のため非表示",
        "caution": "参考値（n={n}）",
        "topics": "話題（コメントに占める割合）：",
        "colon": "：",
        "with": "{score}（n={n}、95%信頼区間 {interval}）",
        "alone": "{score}（n={n}）",
        "rating": "、薦める可能性の平均 {mean}（n={n}）",
        "polarity": "言葉の好悪（-1〜1の平均）：",
        "no_polarity": "言葉の好悪は、評点との関連が弱いか確かめられないため表示しません。",
        "few_sides": "推奨者と批判者の言葉の比較には、それぞれ{least}件以上のコメントが必要です。",
        "likes": "推奨者に多い言葉：",
        "dislikes": "批判者に多い言葉：",
        "word": "{word}（推奨者 {promoters}・批判者 {detractors}、ζ {zeta}）",
        "between": "、",
        "none": "なし",
    },
    "en": {
        "head": "Words and topics of comments",
        "n": "n={n}, left empty {missing}",
        "suppressed": "not shown, n<10",
        "caution": "for reference only (n={n})",
        "topics": "topics, as shares of the comments:",
        "colon": ": ",
        "with": "{score} (n={n}, 95% CI {interval})",
        "alone": "{score} (n={n})",
        "rating": "; mean recommendation {mean} (n={n})",
        "polarity": "tone of the words, mean of -1 to 1:",
        "no_polarity": "The tone of the words is not shown: its relation to the ratings is weak or cannot be checked.",
        "few_sides": "Comparing words of promoters and detractors needs {least} comments of each.",
        "likes": "words of promoters:",
        "dislikes": "words of detractors:",
        "word": "{word} (promoters {promoters}, detractors {detractors}, ζ {zeta})",
        "between": ", ",
        "none": "none",
    },
}
