"""The one meeting place of a customer's message with the models: classify, route, then reply, cite, ask or hand over.

For one question:

1. its language is detected (the conversation's decides where the text says nothing);
2. it is encoded, for the knowledge base and, side by side, for a classifier that brings its own encoder;
3. it is classified, and ``intents.routing`` decides;
4. an intent's reply, a cited answer, "which do you mean", or an honest refusal that offers a person is drafted;
5. the draft is stored with its lineage, once, unless a person has spoken meanwhile;
6. a candidate that runs in the classifier's shadow is shown the question, when the reply is on its way.

Steps 2 to 4 run on the model threads, outside any transaction. What is missing or fails is logged and stands in the
lineage; the customer is told so and offered a person, never given a guess.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from django.db import transaction
from django.utils import translation
from django.utils.translation import gettext
from numpy.typing import NDArray

from intents import catalogue, classifier
from intents.classifier import IntentClassifier
from intents.routing import Action, Decision, Thresholds, route
from lepton_app.chat import delivery, handover
from lepton_app.chat.models import Message
from lepton_app.chat.protocol import Attachments, Choice, Citation, CitedSentence
from lepton_app.chat.threads import on_database_thread, on_model_thread
from lepton_app.learning import shadow
from lepton_app.learning.classifier import Prediction
from lepton_app.lib import languages
from lepton_app.lib.encoding import encoder_service
from retrieval import serving
from retrieval.answering import Answer

logger = logging.getLogger(__name__)

Language = Literal["en", "zh"]
Embedding = NDArray[np.float32]
# Articles are offered with a refusal from this share of the support that an answer needs; below it they are of
# something else.
NEAR_FROM = 0.5
THRESHOLDS = Thresholds()
_DJANGO_LANGUAGE: dict[Language, str] = {"en": "en", "zh": "zh-hans"}


@dataclass(frozen=True)
class Draft:
    """What the assistant wants to say. ``person_reason`` is a code when a person is to be asked for afterwards."""

    text: str
    attachments: Attachments
    route: str
    person_reason: str | None = None


@dataclass
class _Record:
    """The lineage of one reply while it is being made."""

    fields: dict[str, Any] = field(default_factory=dict)
    milliseconds: dict[str, float] = field(default_factory=dict)
    # What the deployed classifier, of this run, said of the question; None when it was not asked.
    said: tuple[int, Prediction] | None = None

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.milliseconds[step] = round((time.perf_counter() - started) * 1000, 2)

    def failed(self, step: str, error: Exception) -> None:
        code = getattr(error, "code", None) or type(error).__name__
        self.fields.setdefault("failures", {})[step] = str(code)
        logger.error("%s failed while replying: %s", step, error, exc_info=error)


@dataclass(frozen=True)
class _Reader:
    """Who reads the question's intent: the customer has picked one, or a classifier reads it, or nobody can."""

    chosen: str | None = None
    model: IntentClassifier | None = None
    error: Exception | None = None


def language_of(text: str, *, conversation_language: str) -> Language:
    """Return the language to answer in; a text of one Latin word or none leaves it to the conversation.

    >>> language_of("How much is a transfer?", conversation_language="zh-hans")
    'en'
    >>> language_of("转账要多少钱", conversation_language="en"), language_of("PIN?", conversation_language="zh-hans")
    ('zh', 'zh')
    """
    words = [word for word in text.split() if any(character.isalpha() for character in word)]
    if len(words) > 1 or languages.has_cjk(text):
        return languages.detect(text)
    return "zh" if conversation_language.startswith("zh") else "en"


async def reply_to(question: Message) -> delivery.Stored | None:
    """Draft and store the reply to a customer's message (with ``conversation`` loaded); None when nobody waits for it.

    Raises what the database raises when the reply cannot be stored: the question then stays unanswered and is found
    again by ``delivery.next_unanswered``.
    """
    record = _Record()
    reader = await on_model_thread(_reader)(question)
    with record.timed("encode"):
        embedding, own = await asyncio.gather(
            _encode(question.text, record), _encode_for_itself(question.text, reader.model)
        )
    language = language_of(question.text, conversation_language=question.conversation.language)
    record.fields["language"] = language
    if isinstance(own, Exception):
        reader, own = _Reader(error=own), None
    draft = await on_model_thread(_compose)(question, language, reader, embedding, own, record)
    lineage = {"route": draft.route, **record.fields, "milliseconds": record.milliseconds}
    stored = await on_database_thread(_store)(question, draft, lineage)
    if stored is not None and stored.is_new and record.said is not None:
        run_id, prediction = record.said
        shadow.offer(classifier.TASK, run_id, [question.text], [prediction])
    return stored


def _reader(question: Message) -> _Reader:
    """Look up who reads the question; queries the database, and never raises."""
    try:
        chosen = _chosen_intent(question)
        return _Reader(chosen=chosen) if chosen is not None else _Reader(model=classifier.current())
    except Exception as error:  # noqa: BLE001 - the knowledge base may still know the answer
        return _Reader(error=error)


async def _encode(text: str, record: _Record) -> Embedding | None:
    try:
        service = await on_model_thread(encoder_service)()
        rows = await service.encode([text])
        record.fields["encoder_version"] = service.encoder.version
        return rows[0]
    except Exception as error:  # noqa: BLE001 - whatever the runtime raises, the customer gets an honest message
        record.failed("encoder", error)
        return None


async def _encode_for_itself(text: str, model: IntentClassifier | None) -> Embedding | Exception | None:
    """Return the row of a classifier that owns its encoder, or why there is none; None for any other classifier."""
    if model is None or not model.owns_encoder:
        return None
    try:
        return await model.encode(text)
    except Exception as error:  # noqa: BLE001 - the knowledge base may still know the answer
        return error


@transaction.atomic
def _store(question: Message, draft: Draft, lineage: dict[str, Any]) -> delivery.Stored | None:
    stored = delivery.store_reply(question, text=draft.text, attachments=draft.attachments, lineage=lineage)
    if stored is not None and stored.is_new and draft.person_reason is not None:
        handover.ask_for_person(question.conversation_id, reason=draft.person_reason)
    return stored


def _compose(
    question: Message,
    language: Language,
    reader: _Reader,
    embedding: Embedding | None,
    own: Embedding | None,
    record: _Record,
) -> Draft:
    """Return the draft for a question; runs on a model thread, with no transaction open.

    ``embedding`` is the row of the installation's encoder, ``own`` that of the classifier's own one, if it has one.
    """
    with translation.override(_DJANGO_LANGUAGE[language]):
        if embedding is None:
            return unavailable()
        draft, is_compared = None, False
        try:
            decision = _decide(question, reader, embedding if own is None else own, record)
            draft = _draft_of_intents(decision, language)
            # Somebody who asks for a person gets one, whatever the documents say about opening hours.
            is_compared = decision.action is Action.COMPARE and (draft is None or draft.person_reason is None)
        except Exception as error:  # noqa: BLE001 - the knowledge base may still know the answer
            record.failed("classifier", error)
        if draft is not None and not is_compared:
            return draft
        try:
            with record.timed("search"):
                answer = serving.answer_question(question.text, embedding=embedding, language=language)
        except Exception as error:  # noqa: BLE001 - see above; here the customer is told
            record.failed("search", error)
            return draft or unavailable()
        record.fields["retrieval"] = dict(answer.lineage)
        record.fields["support"] = round(answer.support, 4)
        record.fields["support_threshold"] = answer.threshold
        if draft is not None and (answer.refused or answer.support < THRESHOLDS.strong_support):
            return draft
        return refusal(answer) if answer.refused else cited(answer)


def _decide(question: Message, reader: _Reader, embedding: Embedding, record: _Record) -> Decision:
    if reader.error is not None:
        raise reader.error
    model = reader.model
    if reader.chosen is not None:
        decision = Decision(Action.REPLY, "chosen", intent=reader.chosen)
    elif model is None:
        record.fields.setdefault("failures", {})["classifier"] = "not_deployed"
        decision = Decision(Action.SEARCH, "no_classifier")
    else:
        with record.timed("classify"):
            prediction = model.classify(question.text, embedding)
            decision = route(prediction, thresholds=THRESHOLDS)
        record.fields["classifier_version"] = model.version
        record.said = (model.run_id, prediction)
    record.fields["decision"] = decision.action.value
    record.fields["reason"] = decision.reason
    record.fields["intent"] = decision.intent
    record.fields["alternatives"] = list(decision.alternatives)
    record.fields["scores"] = dict(decision.scores)
    return decision


def _chosen_intent(question: Message) -> str | None:
    """The intent whose question the customer has just picked from the assistant's choices; None otherwise."""
    before = (
        Message.objects.filter(
            conversation_id=question.conversation_id, sequence__lt=question.sequence, author=Message.Author.ASSISTANT
        )
        .order_by("-sequence")
        .first()
    )
    if before is None:
        return None
    choices = [choice["text"] for choice in before.attachments.get("choices", [])]
    names = before.lineage.get("alternatives", [])
    if question.text in choices and len(names) == len(choices):
        return str(names[choices.index(question.text)])
    return None


def _draft_of_intents(decision: Decision, language: Language) -> Draft | None:
    """The draft when the catalogue settles it; None when the documents must be searched."""
    if decision.action in {Action.REPLY, Action.COMPARE} and decision.intent is not None:
        entry = catalogue.entry(decision.intent)
        if entry is not None:
            reason = "intent" if entry.hands_over else None
            return Draft(entry.reply(language), {}, route="intent", person_reason=reason)
    if decision.action is Action.CLARIFY:
        entries = [catalogue.entry(name) for name in decision.alternatives]
        questions = [entry.question(language) for entry in entries if entry is not None]
        if len(questions) == len(decision.alternatives):
            return clarification(questions)
    return None


def clarification(questions: list[str]) -> Draft:
    """Ask which of several questions is meant."""
    choices: list[Choice] = [{"label": text, "text": text} for text in questions]
    return Draft(
        gettext("I want to be sure that I understand you. Which of these do you mean?"),
        {"choices": choices, "offer_person": True},
        route="clarify",
    )


def cited(answer: Answer) -> Draft:
    """Say the answer's sentences, each with the number of its citation; equal spans share a number."""
    numbers: dict[tuple[int, int, int], int] = {}
    citations: list[Citation] = []
    sentences: list[CitedSentence] = []
    for sentence in answer.sentences:
        citation = sentence.citation
        span = (citation.article_id, citation.start, citation.end)
        if span not in numbers:
            numbers[span] = len(numbers) + 1
            citations.append(
                {
                    "number": numbers[span],
                    "title": citation.title,
                    "section": citation.section,
                    "quote": citation.quote,
                    "url": _article_url(*span),
                }
            )
        sentences.append({"text": sentence.text, "citation": numbers[span]})
    return Draft(answer.text, {"sentences": sentences, "citations": citations}, route="answer")


def refusal(answer: Answer) -> Draft:
    """Say that nothing supports an answer; offer what is near, when it is, and a person."""
    attachments: Attachments = {"offer_person": True}
    if answer.near and answer.support >= NEAR_FROM * answer.threshold:
        attachments["near"] = [{"title": title, "url": _article_url(article_id)} for article_id, title in answer.near]
        text = gettext(
            "I found no reliable answer to this in our help pages, and I would rather not guess. "
            "The articles below come closest, or I can ask a colleague to help you."
        )
    else:
        text = gettext(
            "I found no reliable answer to this in our help pages, and I would rather not guess. "
            "I can ask a colleague to help you."
        )
    return Draft(text, attachments, route="refusal")


def unavailable() -> Draft:
    """Say that the assistant cannot answer at the moment, and offer a person."""
    return Draft(
        gettext("I cannot look things up at the moment. I can ask a colleague to help you here."),
        {"offer_person": True},
        route="unavailable",
    )


def _article_url(article_id: int, start: int | None = None, end: int | None = None) -> str:
    query = f"?start={start}&end={end}" if start is not None and end is not None else ""
    return f"/kb/{article_id}.json{query}"
