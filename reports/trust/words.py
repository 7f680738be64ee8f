"""The words of the trust balance, in both languages."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from reports.rounding import signed
from reports.trust.account import (
    DAY_MS,
    Band,
    Behaviour,
    Ledger,
    Line,
    Reason,
)

Lang = Literal["ja", "en"]

_TYPE_NAMES: dict[str, tuple[str, str]] = {
    "need_recorded_used": ("ご要望を記録して活用", "a recorded wish was used"),
    "feedback_acted_on": ("ご意見を反映", "feedback was acted on"),
    "interview_held": ("お話をうかがう機会", "an interview was held"),
    "personal_followup": ("個別のフォロー", "a personal follow-up"),
    "over_promotion": ("過度な販促", "too much promotion"),
    "opt_out": ("アンケートの停止", "stopped surveys"),
    "fast_first_response": ("すばやい初回応答", "a quick first reply"),
    "personal_note": ("手書きのひとこと", "a personal note"),
    "birthday_greeting": ("お誕生日のごあいさつ", "a birthday greeting"),
    "inconsistent_answer": ("窓口によって異なるご案内", "contradictory answers"),
    "promise_kept": ("約束どおり対応", "a promise was kept"),
    "delivery_on_time": ("予定どおりのお届け", "delivered on time"),
    "reply_in_time": ("期限内の返信", "a reply in time"),
    "announcement_on_schedule": ("告知どおりの実施", "done as announced"),
    "promise_broken": ("約束の不履行", "a promise was broken"),
    "late_delivery": ("お届けの遅れ", "a late delivery"),
    "very_late_delivery": ("お届けの大幅な遅れ", "a very late delivery"),
    "reply_overdue": ("返信の遅れ", "a reply was overdue"),
    "no_reply_72h": ("72時間返信なし", "no reply for 72 hours"),
    "terms_confirmed": ("条件の事前確認", "terms were confirmed beforehand"),
    "delay_prenotified": ("遅れの事前連絡", "a delay was announced beforehand"),
    "faq_resolved": ("FAQで解決", "solved by the FAQ"),
    "terms_surprise": ("条件の行き違い", "terms were not as understood"),
    "incident_disclosed": ("不具合の自主的な開示", "a problem was disclosed"),
    "self_reported_error": ("誤りの自己申告", "an error was admitted unasked"),
    "defect_or_wrong_item": ("不良品・商品違い", "a defective or wrong item"),
    "billing_error": ("請求の誤り", "a billing error"),
    "apology_24h": ("24時間以内のおわび", "an apology within 24 hours"),
    "apology_late": ("24時間を過ぎてのおわび", "an apology after 24 hours"),
    "compensation": ("返金・再送などの補償", "a refund, replacement or coupon"),
    "complaint_resolved": ("お申し出の解決", "a complaint was resolved"),
    "prevention_reported": ("再発防止のご報告", "prevention was reported"),
    "complaint_unresolved": ("お申し出が期限までに未解決", "a complaint was not resolved in time"),
    "complaint_ignored": ("お申し出への対応なし", "a complaint was ignored"),
    "nps": ("薦める可能性", "would recommend"),
    "ces_effort": ("手間・負担", "effort"),
    "csat5": ("満足度", "satisfaction"),
    "sat5": ("満足度", "satisfaction"),
    "affinity": ("愛着度", "attachment"),
    "trust6_understanding": ("信頼の回答：理解", "on trust, understanding"),
    "trust6_care": ("信頼の回答：小さな心配り", "on trust, small attentions"),
    "trust6_promise": ("信頼の回答：約束", "on trust, promises"),
    "trust6_clarity": ("信頼の回答：期待の明確化", "on trust, clear expectations"),
    "trust6_honesty": ("信頼の回答：誠実さ", "on trust, honesty"),
    "trust6_recovery": ("信頼の回答：謝罪と回復", "on trust, apology and recovery"),
}
_BEHAVIOUR_NAMES: dict[Behaviour, tuple[str, str]] = {
    "understanding": ("相手を理解する", "understanding the customer"),
    "care": ("小さなことを大切にする", "caring about small things"),
    "promise": ("約束を守る", "keeping promises"),
    "clarity": ("期待を明確にする", "making expectations clear"),
    "honesty": ("誠実さを示す", "showing integrity"),
    "recovery": ("誠実な謝罪とリカバリー", "apologising and making good"),
    "voice": ("アンケートの回答", "survey answers"),
}
_BAND_NAMES: dict[Band, tuple[str, str]] = {
    "overdrawn": ("赤字", "overdrawn"),
    "thin": ("薄い", "thin"),
    "good": ("良好", "good"),
    "solid": ("厚い", "solid"),
}
_REASON_NAMES: dict[Reason, tuple[str, str]] = {
    "counted": ("", ""),
    "cooldown": ("短期間の繰り返しのため加算なし", "repeated too soon, not counted"),
    "no_incident": ("対応する出来事がないため加算なし", "no such incident, not counted"),
    "recovery_cap": ("回復の上限まで", "up to the limit of a recovery"),
    "superseded": ("その後の記録に置き換え", "replaced by a later one"),
    "duplicate": ("重複のため計上なし", "a duplicate, not counted"),
    "unknown": ("種類が不明のため計上なし", "of an unknown type, not counted"),
}


def type_name(type_: str, lang: Lang) -> str:
    """An event type or instrument in words; an unknown one is called by its name."""
    return _TYPE_NAMES.get(type_, (type_, type_))[lang == "en"]


def behaviour_name(behaviour: Behaviour, lang: Lang) -> str:
    """A behaviour in words."""
    return _BEHAVIOUR_NAMES[behaviour][lang == "en"]


def band_name(band: Band, lang: Lang) -> str:
    """A band in words."""
    return _BAND_NAMES[band][lang == "en"]


def notice(lang: Lang) -> str:
    """What has to stand wherever a balance is shown."""
    # the serving process names types and behaviours with this module, and says no sentence of a template
    from reports.templating import Sentences

    return Sentences(lang).said("trust_notice")


def line_text(line: Line, at_ms: int, lang: Lang) -> str:
    """ "+1.59 約束どおり対応（60日前）", "+1.59 a promise was kept (60 days ago)"."""
    days = max(0, at_ms - line.at_ms) // DAY_MS
    what = type_name(line.type, lang)
    if line.code is not None:
        what += f" {line.code}" if lang == "en" else f" {line.code}点"
    if lang == "en":
        notes = ["today" if days == 0 else "1 day ago" if days == 1 else f"{days} days ago"]
    else:
        notes = ["本日" if days == 0 else f"{days}日前"]
    notes += [note for note in (_REASON_NAMES[line.reason][lang == "en"],) if note]
    points = signed(line.contribution, 2)
    return f"{points} {what} ({', '.join(notes)})" if lang == "en" else f"{points} {what}（{'、'.join(notes)}）"


def ledger_text(account: Ledger, lang: Lang) -> list[str]:
    """The balance with its band, what it is not, and every line, newest first: one text line each."""
    balance = signed(account.balance, 2)
    band = band_name(account.band, lang)
    head = f"Trust balance: {balance} ({band})" if lang == "en" else f"信頼残高：{balance}（{band}）"
    known = [line for line in account.lines if line.reason != "unknown"]
    lines = [line_text(line, account.at_ms, lang) for line in reversed(known)]
    if not known:
        lines.append("nothing recorded" if lang == "en" else "記録はありません")
    if account.unknown:
        types = Counter(line.type for line in account.lines if line.reason == "unknown")
        listed = (", " if lang == "en" else "、").join(f"{name} {count}" for name, count in sorted(types.items()))
        lines.append(f"not counted, unknown types: {listed}" if lang == "en" else f"種類が不明のため計上なし：{listed}")
    return [head, notice(lang), *lines]
