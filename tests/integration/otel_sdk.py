"""Sends runs with the OpenTelemetry SDK and says what Faultline must store.

Usage: otel_sdk.py send ADDRESS
       otel_sdk.py compare FILE RESPONSE

`send` exports three runs to ADDRESS (HOST:PORT), project `otel-sdk`, judges the
first one afterwards, and prints the runs as JSON: by name, the v1::Trace that
each must become, and its outcome. `compare` looks for them in RESPONSE, a
FindSimilarTracesResponse as JSON, and prints every field that differs; its exit
code is 1 where one does, 2 where a run is not there.
"""

import json
import sys


def send(address):
    from openinference.instrumentation import (
        Document, Message, TokenCount, ToolCall, ToolCallFunction, get_annotation_attributes, get_input_attributes,
        get_llm_attributes, get_output_attributes, get_retriever_attributes, get_session_attributes,
        get_span_kind_attributes, get_tool_attributes)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import Compression, OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    from opentelemetry.trace import Link, Status, StatusCode

    resource = Resource({"service.name": "OTel SDK", "service.version": "1.4"})
    exporter = OTLPSpanExporter(f"http://{address}", insecure=True, compression=Compression.Gzip)
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=3))
    tracer = provider.get_tracer("otel_sdk")

    def step(span, root, **fields):
        return {"startOffset": seconds(span.start_time - root.start_time),
                "duration": seconds(span.end_time - span.start_time), **fields}

    def trace(root, **fields):
        return {"traceId": f"{root.context.trace_id:032x}", "startTime": timestamp(root.start_time),
                "endTime": timestamp(root.end_time), **fields}

    config = {"service.name": "OTel SDK", "service.version": "1.4"}
    expected = {}

    # OpenInference: an agent that searches, fails with a tool, hands over.
    def start(name, kind, *attributes):
        merged = dict(get_span_kind_attributes(kind))
        for more in attributes:
            merged.update(more)
        return tracer.start_as_current_span(name, attributes=merged)

    with start("support", "agent", get_input_attributes("Where is my order?"), get_session_attributes(session_id="c-7"), {
            "agent.name": "triage",
            "faultline.task.id": "order-17",
            "faultline.task.type": "order status",
            "faultline.task.labels.region": "eu",
            "faultline.system.prompt_strategy": "plan",
            "faultline.exposure.policy_version": 12,
            "faultline.exposure.interventions.0.intervention_id": "i-1",
            "faultline.exposure.interventions.0.arm": "treatment",
            "faultline.exposure.interventions.0.assignment_key": "customer-5",
            "faultline.exposure.interventions.0.treatment_probability": 0.5,
            "faultline.memory.snapshot_id": "m-3",
            "faultline.memory.size": 40,
            "faultline.memory.stats.stale_share": 0.25,
            "faultline.memory.skipped.0.record_id": "r-9",
            "faultline.memory.skipped.0.reason": "stale",
            "faultline.keep_probability": 0.5,
            "faultline.evaluation.signals.confidence": 0.75,
    }) as root:
        with start("search", "retriever", get_input_attributes("order 17"), get_retriever_attributes(documents=[
                Document(id="d1", content="Orders ship on Mondays.", score=0.5),
                Document(id="d2", content="Returns take a week.", score=0.25)])) as search:
            search.set_status(Status(StatusCode.OK))
        with start("plan", "llm", get_llm_attributes(
                provider="openai", model_name="small", response_model_name="small-2", invocation_parameters={"temperature": 0.5},
                input_messages=[Message(role="system", content="Be brief."), Message(role="user", content="Where is my order?")],
                output_messages=[Message(role="assistant", tool_calls=[
                    ToolCall(id="t1", function=ToolCallFunction(name="track", arguments={"order": 17}))])],
                token_count=TokenCount(prompt=412, completion=35)), {
            "faultline.decisions.0.kind": "route",
            "faultline.decisions.0.candidates.0.name": "small",
            "faultline.decisions.0.candidates.0.score": 0.5,
            "faultline.decisions.0.candidates.1.name": "large",
            "faultline.decisions.0.chosen": "small",
            "faultline.decisions.0.propensity": 0.75,
            "faultline.decisions.0.reason": "cheap",
            "faultline.decisions.0.policy_version": 12,
        }) as plan:
            pass
        try:
            with start("track", "tool", get_tool_attributes(name="track", parameters={"order": 17})) as track:
                raise KeyError("order 17")
        except KeyError:
            pass
        with tracer.start_as_current_span("remember", attributes={
                "gen_ai.operation.name": "search_memory", "gen_ai.memory.store.id": "facts",
                "gen_ai.memory.query.text": "address",
                "gen_ai.memory.records": '[{"id": "r1", "score": 0.5}]'}) as remember:
            pass
        with start("hand over", "agent", get_input_attributes("find order 17"), {"agent.name": "logistics"}) as handover:
            with tracer.start_as_current_span("chat large", attributes={
                    "gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "large",
                    "gen_ai.agent.name": "logistics",
                    "gen_ai.response.finish_reasons": ["stop"],
                    "gen_ai.usage.input_tokens": 90, "gen_ai.usage.output_tokens": 12,
                    "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "find"}]}]',
                    "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "Tuesday"}]}]'}) as chat:
                pass
        with start("no promises", "guardrail", get_input_attributes("Tuesday"), get_output_attributes("ok")) as guard:
            pass
        with tracer.start_as_current_span("GET /orders/17", attributes={"http.request.method": "GET"}):
            pass
        root.set_attribute("faultline.run.closed", True)
    first_context = root.get_span_context()
    expected["agent"] = {"outcome": "OUTCOME_FAIL", "trace": trace(
        root, sessionId="c-7", closing="CLOSING_EXPLICIT", keepProbability=0.5,
        task={"id": "order-17", "type": "order status", "input": "Where is my order?", "labels": {"region": "eu"}},
        system={"agent": "triage", "agentVersion": "1.4", "model": "small", "promptStrategy": "plan",
                "config": {**config, "provider": "openai", "temperature": "0.5"}},
        decisions=[{"kind": "KIND_ROUTE", "candidates": [{"name": "small", "score": 0.5}, {"name": "large"}],
                    "chosen": "small", "propensity": 0.75, "reason": "cheap", "policyVersion": "12", "step": 1}],
        exposure={"policyVersion": "12", "interventions": [
            {"interventionId": "i-1", "arm": "ARM_TREATMENT", "assignmentKey": "customer-5", "treatmentProbability": 0.5}]},
        memory={"snapshotId": "m-3", "size": "40", "stats": {"stale_share": 0.25},
                "skipped": [{"recordId": "r-9", "reason": "stale"}],
                "reads": [{"recordId": "r1", "score": 0.5, "recordClass": "facts"}]},
        evaluation={"signals": {"confidence": 0.75}},
        steps=[
            step(search, root, kind="KIND_RETRIEVAL", name="search", actor="triage", status="STATUS_OK", input="order 17",
                 output="d1: Orders ship on Mondays.\nd2: Returns take a week.",
                 attributes={"retrieval.hits": "2", "retrieval.top_score": "0.5"}),
            step(plan, root, kind="KIND_LLM", name="plan", actor="triage", input="system: Be brief.\nuser: Where is my order?",
                 output='tool_call: track {"order": 17}', inputTokens="412", outputTokens="35",
                 attributes={"model": "small", "response_model": "small-2"}),
            step(track, root, kind="KIND_TOOL", name="track", actor="triage", status="STATUS_ERROR", errorType="KeyError",
                 errorMessage="KeyError: 'order 17'", input='{"order": 17}'),
            step(remember, root, kind="KIND_MEMORY", name="search_memory", actor="triage", input="address",
                 output='[{"id": "r1", "score": 0.5}]'),
            step(handover, root, kind="KIND_HANDOFF", name="logistics", actor="logistics", input="find order 17"),
            step(chat, root, kind="KIND_LLM", name="chat", actor="logistics", inputTokens="90", outputTokens="12",
                 input='[{"role": "user", "parts": [{"type": "text", "content": "find"}]}]',
                 output='[{"role": "assistant", "parts": [{"type": "text", "content": "Tuesday"}]}]',
                 attributes={"model": "large", "finish_reason": "stop"}),
            step(guard, root, kind="KIND_GUARDRAIL", name="no promises", actor="triage", input="Tuesday", output="ok"),
        ])}

    # OpenTelemetry's own names; closes because its root ends; its root fails.
    try:
        with tracer.start_as_current_span("invoke_agent clerk", attributes={
                "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk", "gen_ai.agent.version": "2",
                "gen_ai.conversation.id": "c-8",
                "gen_ai.input.messages": '[{"role": "user", "content": "Cancel it"}]'}) as clerk:
            with tracer.start_as_current_span("execute_tool cancel", attributes={
                    "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "cancel",
                    "gen_ai.tool.call.arguments": '{"order": 17}', "gen_ai.tool.call.result": "caf\u00e9"}) as cancel:
                pass
            raise RuntimeError("no answer")
    except RuntimeError:
        pass
    expected["gen_ai"] = {"outcome": "OUTCOME_ERROR", "trace": trace(
        clerk, sessionId="c-8", closing="CLOSING_ROOT_ENDED", task={"input": "Cancel it"},
        system={"agent": "clerk", "agentVersion": "2", "config": config}, evaluation={"outcome": "OUTCOME_ERROR"},
        steps=[step(cancel, clerk, kind="KIND_TOOL", name="cancel", input='{"order": 17}', output="caf\u00e9")])}

    # A text that is over the limit does not lose the run.
    with start("long", "llm", get_input_attributes("x" * 70000), {"faultline.run.closed": True}) as long:
        pass
    expected["long"] = {"outcome": "OUTCOME_UNSPECIFIED", "trace": trace(
        long, closing="CLOSING_EXPLICIT", leftOut="1", system={"config": config},
        steps=[step(long, long, kind="KIND_LLM", name="long", input="x" * 65536)])}

    # A judge comes when all is there.
    provider.shutdown()
    judge = TracerProvider(resource=resource)
    judge.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"http://{address}", insecure=True)))
    with judge.get_tracer("judge").start_as_current_span(
            "judge", links=[Link(first_context)], attributes={
                **get_span_kind_attributes("evaluator"),
                **get_annotation_attributes(annotations=[{
                    "name": "correctness", "label": "incorrect", "score": 0, "annotator_kind": "LLM",
                    "explanation": "it was Wednesday"}], scope="trace")}):
        pass
    judge.shutdown()
    json.dump(expected, sys.stdout)


def timestamp(nanos):
    import datetime
    text = datetime.datetime.fromtimestamp(nanos // 10**9, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return text + fraction(nanos % 10**9) + "Z"


def seconds(nanos):
    return f"{nanos // 10**9}{fraction(nanos % 10**9)}s"


def fraction(nanos):
    """As protobuf's JSON has it: 0, 3, 6 or 9 digits."""
    digits = f"{nanos:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return "." + digits if digits else ""


def fields(value, path=""):
    """Fields that are set, by path. Protobuf's JSON may leave out the others."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield from fields(member, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, element in enumerate(value):
            yield from fields(element, f"{path}[{index}]")
    elif value not in ("", "0", 0, "0s", None, False) and not str(value).endswith("_UNSPECIFIED"):
        yield path, value


def compare(expected_path, response_path):
    with open(expected_path, encoding="utf-8") as file:
        expected = json.load(file)
    with open(response_path, encoding="utf-8") as file:
        found = {n["traceId"]: n for n in json.load(file)["neighbors"]}
    compared = differing = missing = 0
    for name, run in expected.items():
        neighbor = found.get(run["trace"]["traceId"])
        if neighbor is None:
            print(f"{name}: not there")
            missing += 1
            continue
        want = {"outcome": run["outcome"], **dict(fields(run["trace"]))}
        have = {"outcome": neighbor["outcome"], **dict(fields(neighbor["trace"]))}
        for path in sorted({*want, *have}):
            compared += 1
            if want.get(path) != have.get(path):
                differing += 1
                print(f"{name}: {path}: sent {str(want.get(path))[:80]!r}, stored {str(have.get(path))[:80]!r}")
    print(f"runs: {len(expected)}, missing: {missing}, fields that differ: {differing} of {compared}")
    return 2 if missing else 1 if differing else 0


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(sys.argv[2])
    else:
        sys.exit(compare(sys.argv[2], sys.argv[3]))
