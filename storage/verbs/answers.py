"""Answers, what they were before a correction, and the roll-up that counts them week by week."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import astuple, replace

from storage.connection import Row, clean
from storage.errors import Conflict
from storage.records import Answer, RollupCell, Told
from storage.verbs.rows import MARK, answer_of, marked
from storage.verbs.weeks import WeekVerbs


class AnswerVerbs(WeekVerbs):
    """Answers with their history, and the roll-up."""

    def record_answer(self, answer: Answer) -> None:
        """Make it the counted answer of its (session, question); the former one stays in the history. Keeps the
        roll-up equal to a recomputation in the same transaction.

        An answer that comes with `replaced_ms` is history only. Nothing is kept for a session that was erased.

        Raises:
            Conflict: this answer (session, question, id) is stored already.
        """
        if answer.replaced_ms is not None:
            self._keep_former(answer)
            return
        rolled_up = answer.numeric and answer.instrument != ""
        # One statement for three questions, and narrow columns: nearly every answer is the first of its
        # question and of its customer's week.
        found = self._db.one(
            "SELECT (SELECT id FROM answers WHERE session_id = :session_id AND question = :question),"
            " (SELECT id FROM answers WHERE customer_id = :customer_id AND instrument = :instrument AND week = :week"
            " AND survey_kind = :survey_kind AND touchpoint = :touchpoint AND missing = '' AND countable = 1 LIMIT 1),"
            " (SELECT status FROM sessions WHERE id = :session_id)",
            {
                "session_id": answer.session_id,
                "question": answer.question,
                "customer_id": answer.customer_id,
                "instrument": answer.instrument,
                "week": answer.week,
                "survey_kind": answer.survey_kind,
                "touchpoint": answer.touchpoint,
            },
        )
        assert found is not None
        if found[2] == "erased":
            return
        if found[0] == answer.id:
            raise Conflict(f"answer {answer.id} is stored already")
        if found[0] is not None:
            self.retract_answer(answer.session_id, answer.question, answer.answered_ms)
        latest = None
        if found[1] is not None and rolled_up and answer.missing == "" and answer.customer_id != "":
            latest = self._latest(
                answer.customer_id, answer.week, answer.instrument, answer.survey_kind, answer.touchpoint
            )
        value = clean(answer.value)
        row = _row(answer, value)
        self._db.run(
            "INSERT INTO answers (id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable, lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms,"
            " answered_ms, week, late, message_ids, quote_ok, wave_id)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row[:22], *row[23:]),
        )
        if not rolled_up:
            return
        cell = (
            answer.week,
            answer.instrument,
            value,
            answer.missing,
            answer.survey_kind,
            answer.touchpoint,
            answer.segment,
            answer.channel,
            answer.lang,
            answer.wording_id,
            answer.label_set,
        )
        if answer.missing:
            self._add(cell, 1, 0)
        elif latest is None:
            self._add(cell, 1, 1)
        elif (latest[0], latest[1]) < (answer.answered_ms, answer.id):
            self._add(cell, 1, 1)
            self._add(latest[2:], 0, -1)
        else:
            self._add(cell, 1, 0)

    def retract_answer(self, session_id: str, question: str, at_ms: int) -> None:
        """The counted answer of this question, if there is one, stops counting and stays in the history."""
        row = self._db.one(
            "SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, NULL, quote_ok, wave_id FROM answers"
            " WHERE session_id = :session_id AND question = :question",
            {"session_id": session_id, "question": question},
        )
        if row:
            self._stop_counting(answer_of(row))
            self._keep_former(replace(answer_of(row), replaced_ms=at_ms))

    def _keep_former(self, answer: Answer) -> None:
        """An answer that does not count (any more) goes to the history."""
        self._db.run(
            "INSERT INTO former_answers (id, session_id, customer_id, question, instrument, wording_id,"
            " label_set, value, missing, countable, lang, channel, survey_kind, touchpoint, segment, flow_id, revision,"
            " shown_ms, answered_ms, week, late, message_ids, replaced_ms, quote_ok, wave_id)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            _row(answer, clean(answer.value)),
        )

    def forget_words(self, session_id: str, message_id: str, at_ms: int) -> int:
        """The customer took a message back: the words of every answer made from it go, in the history too, and such
        an answer stops counting. Number of answers."""
        found = 0
        for answer in self.answers_of_session(session_id, history=True):
            if message_id in answer.message_ids.split(";"):
                found += 1
                if answer.replaced_ms is None:
                    self.retract_answer(session_id, answer.question, at_ms)
                self._db.run(
                    "UPDATE former_answers SET value = ''"
                    " WHERE session_id = :session_id AND question = :question AND id = :id",
                    {"session_id": session_id, "question": answer.question, "id": answer.id},
                )
        return found

    def allow_quotes(self, customer_id: str, agreed: bool) -> None:
        """Whether this customer's comments may be used outside the company; it holds for those given before, too."""
        self._db.run(
            "UPDATE answers SET quote_ok = :agreed WHERE customer_id = :customer_id AND customer_id <> ''"
            " AND countable = 0 AND missing = ''",
            {"customer_id": customer_id, "agreed": 1 if agreed else 0},
        )

    def answers_of_session(self, session_id: str, *, history: bool = False) -> list[Answer]:
        """The counted answers in order of time; with `history`, those that stopped counting, too."""
        rows = self._db.all(
            "SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, NULL AS replaced_ms, quote_ok, wave_id FROM answers WHERE session_id = :session_id"
            " UNION ALL"
            " SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, replaced_ms, quote_ok, wave_id FROM former_answers"
            " WHERE session_id = :session_id AND :history = 1"
            " ORDER BY answered_ms, id",
            {"session_id": session_id, "history": int(history)},
        )
        return [answer_of(row) for row in rows]

    def answers_of(self, customer_id: str, *, history: bool = False) -> list[Answer]:
        """The counted answers of this customer in order of time; with `history`, the others, too."""
        rows = self._db.all(
            "SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, NULL AS replaced_ms, quote_ok, wave_id FROM answers WHERE customer_id = :customer_id"
            " UNION ALL"
            " SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, replaced_ms, quote_ok, wave_id FROM former_answers"
            " WHERE customer_id = :customer_id AND :history = 1"
            " ORDER BY answered_ms, id",
            {"customer_id": customer_id, "history": int(history)},
        )
        return [answer_of(row) for row in rows]

    def answers_between(
        self, start_ms: int, end_ms: int, *, instrument: str = "", instruments: Sequence[str] = ()
    ) -> list[Answer]:
        """Counted answers given in [start, end), in order of time; of one instrument, of several, or all questions."""
        rows = self._db.all(
            "SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, NULL, quote_ok, wave_id FROM answers"
            " WHERE answered_ms >= :start_ms AND answered_ms < :end_ms "
            " AND (:instrument = '' OR instrument = :instrument)"
            " AND (:several = '' OR REPLACE(:several, :mark || instrument || :mark, '') <> :several)"
            " ORDER BY answered_ms, id",
            {
                "instrument": instrument,
                "several": marked(instruments),
                "mark": MARK,
                "start_ms": start_ms,
                "end_ms": end_ms,
            },
        )
        return [answer_of(row) for row in rows]

    def told_between(self, start_ms: int, end_ms: int, *, words: bool = False) -> list[Told]:
        """What was answered in [start, end) to standard questions, in order of time, by customers with a name and
        without; nothing that was skipped. To those that are scored, or with `words` to those of free text."""
        rows = self._db.all(
            "SELECT customer_id, answered_ms, instrument, wording_id, label_set, survey_kind, touchpoint, segment,"
            " channel, lang, value FROM answers WHERE answered_ms >= :start_ms AND answered_ms < :end_ms"
            " AND missing = '' AND countable = :countable AND instrument <> '' ORDER BY answered_ms, id",
            {"start_ms": start_ms, "end_ms": end_ms, "countable": 0 if words else 1},
        )
        return [Told._make(row) for row in rows]

    def answers_page(
        self,
        start_ms: int,
        end_ms: int,
        *,
        after: Answer | None = None,
        flow: str = "",
        segment: str = "",
        history: bool = False,
        limit: int = 2_000,
    ) -> list[Answer]:
        """The next counted answers given in [start, end), oldest first: those behind `after`, the last one of the page
        before; of one flow and segment, or all. With `history`, those that stopped counting, too. Fewer than `limit`
        are the last."""
        rows = self._db.all(
            "SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, NULL AS replaced_ms, quote_ok, wave_id FROM answers"
            " WHERE answered_ms >= :from_ms AND answered_ms < :end_ms"
            " AND (answered_ms, session_id, question, id) > (:after_ms, :after_session, :after_question, :after_id)"
            " AND (:flow = '' OR flow_id = :flow) AND (:segment = '' OR segment = :segment)"
            " UNION ALL"
            " SELECT id, session_id, customer_id, question, instrument, wording_id, label_set, value,"
            " missing, countable,"
            " lang, channel, survey_kind, touchpoint, segment, flow_id, revision, shown_ms, answered_ms, week, late,"
            " message_ids, replaced_ms, quote_ok, wave_id FROM former_answers"
            " WHERE answered_ms >= :from_ms AND answered_ms < :end_ms AND :history = 1"
            " AND (answered_ms, session_id, question, id) > (:after_ms, :after_session, :after_question, :after_id)"
            " AND (:flow = '' OR flow_id = :flow) AND (:segment = '' OR segment = :segment)"
            " ORDER BY answered_ms, session_id, question, id LIMIT :limit",
            {
                "from_ms": start_ms if after is None else after.answered_ms,
                "end_ms": end_ms,
                "after_ms": start_ms - 1 if after is None else after.answered_ms,
                "after_session": "" if after is None else after.session_id,
                "after_question": "" if after is None else after.question,
                "after_id": "" if after is None else after.id,
                "flow": flow,
                "segment": segment,
                "history": int(history),
                "limit": limit,
            },
        )
        return [answer_of(row) for row in rows]

    def answers_span(self) -> tuple[int, int] | None:
        """When the first and the last answer were given, former ones included, in ms; None while there is none."""
        row = self._db.one(
            "SELECT MIN(first_ms), MAX(last_ms) FROM (SELECT (SELECT MIN(answered_ms) FROM answers) AS first_ms,"
            " (SELECT MAX(answered_ms) FROM answers) AS last_ms"
            " UNION ALL SELECT (SELECT MIN(answered_ms) FROM former_answers),"
            " (SELECT MAX(answered_ms) FROM former_answers)) AS both"
        )
        return None if row is None or row[0] is None else (row[0], row[1])

    def rollup(self, first_week: str, last_week: str, *, instrument: str = "") -> list[RollupCell]:
        """The cells of the weeks first_week ≤ week ≤ last_week (Mondays), of one instrument or all.

        Only standard instruments are rolled up (a shop's own questions share no name to be added up under), and no
        free text. A skipped question is a cell with value "" and its `missing`; it has no customers. Without a
        customer every answer counts as one.
        """
        rows = self._db.all(
            "SELECT week, instrument, wording_id, label_set, survey_kind, touchpoint, segment, channel, lang, value,"
            " missing, answers, customers FROM rollup"
            " WHERE week >= :first_week AND week <= :last_week AND (:instrument = '' OR instrument = :instrument)"
            " ORDER BY week, instrument, value, missing, survey_kind, touchpoint, segment, channel, lang, wording_id,"
            " label_set",
            {"first_week": first_week, "last_week": last_week, "instrument": instrument},
        )
        # few texts, each in thousands of cells
        texts: dict[str, str] = {}
        return [RollupCell(*_shared(row, texts)) for row in rows]

    def recompute_rollup(self) -> list[RollupCell]:
        """The roll-up computed from raw rows, for the checker and for repairs (writes nothing)."""
        rows = self._db.all(
            "SELECT week, instrument, wording_id, label_set, survey_kind, touchpoint, segment, channel, lang, value,"
            " missing, COUNT(*), SUM(CASE WHEN missing = '' AND (customer_id = '' OR place = 1) THEN 1 ELSE 0 END)"
            " FROM (SELECT week, instrument, wording_id, label_set, survey_kind, touchpoint, segment, channel, lang,"
            " value, missing, customer_id, ROW_NUMBER() OVER (PARTITION BY customer_id, week, instrument, survey_kind,"
            " touchpoint, CASE WHEN missing = '' THEN 0 ELSE 1 END ORDER BY answered_ms DESC, id DESC) AS place"
            " FROM answers WHERE countable = 1 AND instrument <> '') AS counted"
            " GROUP BY week, instrument, value, missing, survey_kind, touchpoint, segment, channel, lang, wording_id,"
            " label_set"
            " ORDER BY week, instrument, value, missing, survey_kind, touchpoint, segment, channel, lang, wording_id,"
            " label_set"
        )
        return [RollupCell(*row) for row in rows]

    def _latest(self, customer_id: str, week: str, instrument: str, survey_kind: str, touchpoint: str) -> Row | None:
        """The customer's latest valid answer of this week: time, id, then the eleven columns of its cell."""
        return self._db.one(
            "SELECT answered_ms, id, week, instrument, value, missing, survey_kind, touchpoint, segment,"
            " channel, lang, wording_id, label_set FROM answers"
            " WHERE customer_id = :customer_id AND instrument = :instrument AND week = :week"
            " AND survey_kind = :survey_kind AND touchpoint = :touchpoint AND missing = '' AND countable = 1"
            " ORDER BY answered_ms DESC, id DESC LIMIT 1",
            {
                "customer_id": customer_id,
                "week": week,
                "instrument": instrument,
                "survey_kind": survey_kind,
                "touchpoint": touchpoint,
            },
        )

    def _stop_counting(self, former: Answer) -> None:
        """Take a counted answer out of the counts; the next latest of its customer steps in."""
        self._drop_columns("answers", former.answered_ms)
        self._db.run(
            "DELETE FROM answers WHERE session_id = :session_id AND question = :question",
            {"session_id": former.session_id, "question": former.question},
        )
        if not former.numeric or former.instrument == "":
            return
        cell = (
            former.week,
            former.instrument,
            former.value,
            former.missing,
            former.survey_kind,
            former.touchpoint,
            former.segment,
            former.channel,
            former.lang,
            former.wording_id,
            former.label_set,
        )
        if former.missing:
            self._add(cell, -1, 0)
        elif former.customer_id == "":
            self._add(cell, -1, -1)
        else:
            following = self._latest(
                former.customer_id, former.week, former.instrument, former.survey_kind, former.touchpoint
            )
            if following is None:
                self._add(cell, -1, -1)
            elif (following[0], following[1]) < (former.answered_ms, former.id):
                self._add(cell, -1, -1)
                self._add(following[2:], 0, 1)
            else:
                self._add(cell, -1, 0)

    def _add(self, cell: Row, answers: int, customers: int) -> None:
        """Add to a cell of the roll-up; one that comes to nothing goes."""
        self._db.run(
            "INSERT INTO rollup (week, instrument, value, missing, survey_kind, touchpoint, segment, channel, lang,"
            " wording_id, label_set, answers, customers)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (week, instrument, value, missing, survey_kind, touchpoint, segment, channel,"
            " lang, wording_id, label_set) DO UPDATE SET answers = rollup.answers + excluded.answers,"
            " customers = rollup.customers + excluded.customers",
            (*cell, answers, customers),
        )
        if answers < 0:
            self._db.run(
                "DELETE FROM rollup WHERE week = ? AND instrument = ? AND value = ? AND missing = ?"
                " AND survey_kind = ? AND touchpoint = ? AND segment = ? AND channel = ? AND lang = ?"
                " AND wording_id = ? AND label_set = ? AND answers = 0",
                cell,
            )


def _row(answer: Answer, value: str) -> Row:
    """What a row of `former_answers` says of an answer, and one of `answers`, which knows no `replaced_ms`."""
    return astuple(answer if value is answer.value else replace(answer, value=value))


def _shared(row: Row, texts: dict[str, str]) -> Row:
    """The row with texts that are in memory once, however many rows have them."""
    return tuple(texts.setdefault(value, value) if isinstance(value, str) else value for value in row)
