"""What people type, and how it is taken. Every row is one spelling."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from flows.questions import (
    Between,
    Doubtful,
    NotUnderstood,
    Reader,
    Reading,
    Understood,
    command,
    is_request,
    says_nothing,
)


def each(listed: str) -> tuple[str, ...]:
    """Spellings, written with | between them."""
    return tuple(listed.split("|"))


NPS = Reader(
    "scale",
    low=0,
    high=10,
    labels={0: ["全く薦めない", "not at all likely"], 10: ["積極的に薦める", "extremely likely"]},
)
PLAIN = {
    5: ["満足", "Satisfied"],
    4: ["やや満足", "Somewhat satisfied"],
    3: ["どちらともいえない", "Neither"],
    2: ["やや不満", "Somewhat dissatisfied"],
    1: ["不満", "Dissatisfied"],
}
SAT = Reader("scale", low=1, high=5, labels=PLAIN, numbered=False)
CLASSIC = Reader(
    "scale",
    low=1,
    high=5,
    labels={5: ["非常に満足"], 4: ["満足"], 3: ["どちらともいえない"], 2: ["不満"], 1: ["非常に不満"]},
    numbered=False,
)
YES_NO = Reader("yes_no", labels={"yes": ["はい", "Yes"], "no": ["いいえ", "No"]})
SHOWN = each("relief|pride|excitement|liking|support|none|other")
FEELINGS = Reader(
    "multi",
    labels={
        "relief": ["安心感", "Relief"],
        "pride": ["誇り", "Pride"],
        "excitement": ["ワクワク感", "Excitement"],
        "liking": ["好き", "Liking"],
        "support": ["応援したい", "Support"],
        "none": ["特にない", "None in particular"],
        "other": ["その他", "Other"],
    },
    exclusive="none",
    other="other",
)
WHY = Reader(
    "choice", labels={"gift": ["贈り物", "A gift"], "self": ["自分用", "For myself"], "both": ["両方", "Both"]}
)

NUMBERS: list[tuple[str, Reading]] = [
    *[
        (text, Understood(9))
        for text in each(
            "9|９|9点|九|9です|９てん|9 点|「9」|9。|9！|9️⃣|⑨|9.0|９．０点|+9|きゅう|ｷｭｳ|nine|Nine!|"
            "9/10|9 / 10|9 out of 10|a 9|9ish|9 points|9くらい|９ぐらいです|だいたい9|たぶん9かな|約9|"
            "9だと思います|9でお願いします|9ですね|九点です|10点満点で9点|10点中9|9に近い|9の方|"
            "うーん、9|9😊| 9 |9\n|9点！！|I'd say 9|maybe 9|09|9ww|回答は9です|9かも|(9)"
        )
    ],
    *[
        (text, Understood(10))
        for text in each("10|１０|十|10です|🔟|ten|じゅう|10/10|積極的に薦める|extremely likely|一〇")
    ],
    *[(text, Understood(8)) for text in each("８くらい|はち|ﾊﾁ|8/10|「8」|8。|eight|八|८|٨")],
    *[(text, Understood(0)) for text in each("0|０|〇|零|ゼロ|zero|れい|全く薦めない")],
    *[
        (text, Between(8, 9))
        for text in each("8か9|８か９|8と9の間|8〜9|8-9|8 or 9|9か8|八か九|8点か9点|8、9|8から9くらい")
    ],
    *[
        (text, Doubtful())
        for text in each(
            "11|-1|−1|7.5|8じゃない|8ではない|9以上|5未満|十一|100|99999999999999999999|8か11|3.14点|"
            "9/9|8 9 10|1万|👍|9だけど本当は3|2025年|二十|½|9点ではないです"
        )
    ],
    *[(text, NotUnderstood()) for text in each("こんにちは|？|。。。|w|とてもよかった|満足|\u200b|a|です|くらい|死ね")],
]

LABELS: list[tuple[str, Reading]] = [
    *[
        (text, Understood(5))
        for text in each(
            "満足|まんぞく|ﾏﾝｿﾞｸ|マンゾク|満足です|満足しました|満足しています|大満足|大満足？|"
            "とても満足|「満足」|満足！|satisfied|Very satisfied|I'm satisfied|満足ですね|満足😊"
        )
    ],
    *[
        (text, Understood(4))
        for text in each(
            "やや満足|まあ満足|まあまあ満足です|少し満足|somewhat satisfied|どちらかといえば満足|quite satisfied"
        )
    ],
    *[
        (text, Understood(3))
        for text in each(
            "どちらともいえない|どちらとも言えない|どちらとも言えません|普通|ふつう|普通です|"
            "どちらでもない|neither|neutral|so-so"
        )
    ],
    *[(text, Understood(2)) for text in ("やや不満", "ちょっと不満", "ややふまん", "somewhat dissatisfied")],
    *[(text, Understood(1)) for text in each("不満|ふまん|不満です|すごく不満|dissatisfied")],
    # A number typed at buttons without numbers is taken as points, and said back.
    *[(text, Understood(4, echo=True)) for text in ("4", "４点", "4です", "四")],
    *[(text, Doubtful()) for text in each("満足していません|満足ではない|不満はない|not satisfied|6|0|👍|満足と不満")],
    *[(text, NotUnderstood()) for text in ("まあまあ", "よかった", "ok")],
]

WORDS: list[tuple[str, Reading]] = [
    *[
        (text, Understood("yes"))
        for text in each(
            "はい|ハイ|ﾊｲ|はーい|うん|ええ|そうです|はい！|はいです|はい、そう思います|yes|Yes.|"
            "ＹＥＳ|y|yeah|👍|👍🏽|⭕|○|もちろん|思います|1|はい😊"
        )
    ],
    *[
        (text, Understood("no"))
        for text in each("いいえ|イイエ|いや|いえ|ううん|no|No!|nope|👎|×|❌|思いません|違います|2|0|いいえ。")
    ],
    *[(text, Doubtful()) for text in ("はい？", "👍👎", "3")],
    *[(text, NotUnderstood()) for text in ("はいはい分かった", "どうかな", "多分ね")],
]

SEVERAL: list[tuple[str, Reading]] = [
    *[
        (text, Understood(("relief", "excitement")))
        for text in each(
            "１と３|1,3|1、3|1 3|①と③|一と三|1番と3番|安心感とワクワク感|安心、わくわく|"
            "ワクワク感・安心感|relief and excitement|Excitement, Relief"
        )
    ],
    *[
        (text, Understood(("relief", "pride")))
        for text in ("安心感と誇り", "安心感 誇り", "安心感\n誇り", "あんしん感や誇り")
    ],
    *[
        (text, Understood(each("relief|pride|excitement|liking|support")))
        for text in each("全部|ぜんぶ|すべて|全部です|all")
    ],
    *[(text, Understood(("none",))) for text in each("特にない|とくにない|特になし|なし|ありません|none|6")],
    *[(text, Understood(("liking",))) for text in ("好き", "好きです", "4", "liking")],
    *[(text, Understood(("other",))) for text in ("その他", "7", "Other")],
    *[(text, Doubtful()) for text in ("安心感と丁寧さ", "9", "特にないと安心感", "1と9")],
    *[(text, NotUnderstood()) for text in ("うーん", "ありがとう")],
]


def test_a_number_on_a_scale_of_0_to_10() -> None:
    for text, reading in NUMBERS:
        assert NPS.read(text) == reading, text


def test_the_words_of_a_labelled_scale() -> None:
    for text, reading in LABELS:
        assert SAT.read(text) == reading, text


def test_yes_and_no() -> None:
    for text, reading in WORDS:
        assert YES_NO.read(text) == reading, text


def test_several_choices() -> None:
    for text, reading in SEVERAL:
        assert FEELINGS.read(text, SHOWN) == reading, text


def test_there_are_many_spellings() -> None:
    assert len({text for table in (NUMBERS, LABELS, WORDS, SEVERAL) for text, _ in table}) >= 200


def test_a_number_counts_in_the_order_the_customer_sees() -> None:
    assert FEELINGS.read("1と2", ("pride", "relief", "none")) == Understood(("relief", "pride"))
    assert WHY.read("2", ("both", "gift", "self")) == Understood("gift")


def test_an_intensified_word_is_the_intensified_label_where_there_is_one() -> None:
    assert CLASSIC.read("大満足") == Understood(5)
    assert CLASSIC.read("満足") == Understood(4)
    assert CLASSIC.read("とても不満") == Understood(1)
    assert CLASSIC.read("やや満足") == Doubtful()


def test_one_choice_is_named_by_its_words() -> None:
    assert WHY.read("贈り物です") == Understood("gift")
    assert WHY.read("For myself") == Understood("self")
    assert WHY.read("贈り物じゃない") == Doubtful()


def test_commands_are_whole_messages() -> None:
    for text, expected in [
        ("戻る", "back"),
        ("もどる", "back"),
        ("back", "back"),
        ("前の質問", "back"),
        ("スキップ", "skip"),
        ("ｽｷｯﾌﾟ", "skip"),
        ("skip", "skip"),
        ("飛ばす", "skip"),
        ("とばす", "skip"),
        ("スキップでお願いします", "skip"),
        ("やめる", "stop"),
        ("STOP", "stop"),
        ("やめます。", "stop"),
        ("担当者", "person"),
        ("担当者をお願いします", "person"),
        ("person", "person"),
        ("ヘルプ", "help"),
        ("Help!", "help"),
        ("わからない", "dk"),
        ("分かりません", "dk"),
        ("I don't know", "dk"),
        ("決定", "done"),
        ("以上です", "done"),
        ("あとで", "later"),
        ("戻ってきた品が壊れていた", None),
        ("やめるつもりはない", None),
        ("担当者が親切でした", None),
        ("9", None),
        ("", None),
    ]:
        assert command(text) == expected, text


def test_nothing_to_say_is_not_a_comment() -> None:
    assert all(says_nothing(text) for text in each("特にない|とくになし|なし|ありません|No comment|nothing"))
    assert not says_nothing("特にないけど、箱がきれいでした")


REQUESTS = each(
    "交換できますか|サイズが違うので交換してください|返品したいです|返金してほしい|"
    "まだ届いていません|届かない|商品が届きません|いつ届きますか|連絡ください|"
    "お電話ください。|壊れていたので、交換をお願いします|"
    "すぐ届いたのは良かったです。でも色が違うので返品できますか？|修理してください|"
    "どうすればいいですか|交換|I want a refund|Can I exchange it?|It hasn't arrived yet|"
    "Please contact me|Where is my parcel?|could you call me|I never received it"
)
NO_REQUESTS = each(
    "すぐ届いた|思ったより早く届いて満足です|交換もスムーズでした|"
    "交換していただけて助かりました|返品の必要はないです|"
    "届かないか心配でしたが、無事届きました|とても良かった|返金の対応が丁寧でした|"
    "また買いたいです|梱包がきれいでした||Arrived quickly, thank you|The refund was quick|"
    "Great product|I got my replacement the next day, thanks"
)


def test_a_request_inside_a_comment_is_heard() -> None:
    for text in REQUESTS:
        assert is_request(text, ("交換", "返品", "届かない")), text


def test_praise_is_not_a_request() -> None:
    for text in NO_REQUESTS:
        assert not is_request(text, ("交換", "返品", "届かない")), text


def test_the_shops_own_words_make_a_request() -> None:
    assert is_request("名入れがまちがっています", ("名入れ",))
    assert not is_request("名入れがまちがっています")


@given(st.text(max_size=300))
@example("𑄶")
def test_whatever_is_typed_is_read_without_an_error(text: str) -> None:
    for reader, shown in ((NPS, ()), (SAT, ()), (YES_NO, ("yes", "no")), (FEELINGS, SHOWN), (WHY, ())):
        reader.read(text, shown)
    command(text)
    is_request(text)


@given(st.text(alphabet="0123456789０９.-+−点かと〜、一二十〇はちにく大満足不まんぞく 👍🔟\u20e3", max_size=12))
def test_an_understood_answer_is_always_on_the_scale(text: str) -> None:
    for reader, low, high in ((NPS, 0, 10), (SAT, 1, 5)):
        match reader.read(text):
            case Understood(int() as value):
                assert low <= value <= high
            case Between(a, b):
                assert low <= a < b <= high
