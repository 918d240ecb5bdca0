package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr/funcr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/tmnotes/tmnotes/gitstate/note"
)

// What the conventions have no name for.
const (
	statusKey  = attribute.Key("tmnotes.status")       // in the words of records: ok, drifted, blocked, ...
	opKey      = attribute.Key("tmnotes.operation")    // deploy, destroy, drift, plan, ...
	stackIDKey = attribute.Key("tmnotes.stack.id")     // stack.id
	tagsKey    = attribute.Key("tmnotes.stack.tags")   // stack.tags
	causeKey   = attribute.Key("tmnotes.blocked_by")   // of a blocked stack: the one that failed
	triesKey   = attribute.Key("tmnotes.tries")        // how often the command was started
	stacksKey  = attribute.Key("tmnotes.stacks")       // how many stacks the run has
	countKey   = "tmnotes.stacks."                     // and then a status: how many ended so
	waitKey    = attribute.Key("tmnotes.wait_seconds") // of a retry event: before the next try
	reasonKey  = attribute.Key("tmnotes.reason")       // of a retry event
)

// Run is what all spans of a run say.
type Run struct {
	ID     string // ULID of the run
	Op     string // what it does, several joined by ","
	Target string
	Commit string // the commit that is deployed
	Job    string // URL of the CI job, or its name
	Stacks int
}

// Stack is what the span of a stack says from the start.
type Stack struct {
	Path, ID string
	Tags     []string
	Op       string
	Target   string
}

// Trace makes the spans of one run. Its methods may be called from several
// goroutines, do nothing on a nil *Trace, and never wait for the collector, but for
// End.
type Trace struct {
	run      Run
	warn     func(string)
	where    string // the endpoint, for people
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	root     context.Context // with the span that the stacks' spans are children of
	whole    trace.Span      // of the run; nil if it has none

	mu     sync.Mutex
	spans  map[string]trace.Span // of the stacks that run, by path
	failed error                 // what the exporter said last
}

// Begin starts a trace as the standard variables say (OTEL_EXPORTER_OTLP_ENDPOINT,
// OTEL_TRACES_EXPORTER, OTEL_SDK_DISABLED and their like), below the span that
// TRACEPARENT names. It is nil where no endpoint is set, or where the variables cannot be followed:
// then warn says why. whole says that the run itself has a span, and not only its
// stacks.
func Begin(ctx context.Context, run Run, version string, whole bool, warn func(string)) *Trace {
	t := &Trace{run: run, warn: warn, spans: map[string]trace.Span{}}
	exporter, err := t.exporter(ctx)
	if err != nil {
		warn(fmt.Sprintf("no spans are sent: %v", err))
		return nil
	}
	if exporter == nil {
		return nil
	}
	// Of a wrong OTEL_RESOURCE_ATTRIBUTES what can be read counts.
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(semconv.ServiceName("tmnotes"), semconv.ServiceVersion(version)), resource.WithFromEnv())
	if err != nil {
		t.fail(err)
	}
	var batch []sdktrace.BatchSpanProcessorOption
	if os.Getenv("OTEL_BSP_MAX_QUEUE_SIZE") == "" && run.Stacks >= sdktrace.DefaultMaxQueueSize {
		batch = append(batch, sdktrace.WithMaxQueueSize(run.Stacks+1)) // they may all be blocked at once
	}
	t.provider = sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, batch...), sdktrace.WithResource(res))
	t.tracer = t.provider.Tracer("github.com/tmnotes/tmnotes", trace.WithInstrumentationVersion(version), trace.WithSchemaURL(semconv.SchemaURL))
	carrier := propagation.MapCarrier{"traceparent": os.Getenv("TRACEPARENT"), "tracestate": os.Getenv("TRACESTATE")}
	t.root = propagation.TraceContext{}.Extract(context.WithoutCancel(ctx), carrier)
	if whole {
		t.root, t.whole = t.tracer.Start(t.root, "RUN "+run.Op, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(append(t.common(run.Op, run.Target), stacksKey.Int(run.Stacks))...))
	}
	return t
}

// exporter is nil where nothing is to be sent.
func (t *Trace) exporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	get := func(name string) string {
		return cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_"+name), os.Getenv("OTEL_EXPORTER_OTLP_"+name))
	}
	endpoint := get("ENDPOINT")
	if endpoint == "" || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	switch e := os.Getenv("OTEL_TRACES_EXPORTER"); e {
	case "", "otlp":
	case "none":
		return nil, nil
	default:
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER=%s: there is otlp and none", e)
	}
	// The SDK would send to its default instead.
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" && u.Scheme != "unix" {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT=%s is not a URL; write it like http://localhost:4318", endpoint)
	}
	t.where = u.Redacted()
	// What the SDK says itself goes to the standard logger, in lines of its own.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(t.fail))
	otel.SetLogger(funcr.New(func(_, args string) { t.fail(errors.New(args)) }, funcr.Options{}))
	switch p := get("PROTOCOL"); p {
	case "", "http/protobuf":
		return otlptracehttp.New(ctx)
	case "grpc":
		return otlptracegrpc.New(ctx)
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL=%s: there is http/protobuf and grpc", p)
	}
}

func (t *Trace) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = err
}

// common are the attributes that every span has.
func (t *Trace) common(op, target string) []attribute.KeyValue {
	kv := []attribute.KeyValue{semconv.CICDPipelineName(op), semconv.CICDPipelineActionNameRun, semconv.CICDPipelineRunID(t.run.ID),
		semconv.VCSRefHeadRevision(t.run.Commit), opKey.String(op)}
	if strings.Contains(t.run.Job, "://") {
		kv = append(kv, semconv.CICDPipelineRunURLFull(t.run.Job))
	}
	if target != "" {
		kv = append(kv, semconv.DeploymentEnvironmentName(target))
	}
	return kv
}

// Started begins the span of a stack. Where the run has a span, it is that one's
// child, else that of TRACEPARENT.
func (t *Trace) Started(s Stack, at time.Time) {
	if t == nil {
		return
	}
	span := t.start(s, at)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans[s.Path] = span
}

func (t *Trace) start(s Stack, at time.Time) trace.Span {
	kv := append(t.common(s.Op, s.Target), semconv.CICDPipelineTaskName(s.Path), semconv.CICDPipelineTaskRunID(t.run.ID+s.Path))
	if s.Op == note.Deploy {
		kv = append(kv, semconv.CICDPipelineTaskTypeDeploy)
	}
	if s.ID != "" {
		kv = append(kv, stackIDKey.String(s.ID))
	}
	if len(s.Tags) > 0 {
		kv = append(kv, tagsKey.StringSlice(s.Tags))
	}
	_, span := t.tracer.Start(t.root, s.Path, trace.WithTimestamp(at), trace.WithAttributes(kv...))
	return span
}

// Environ is what the children of a stack that was started find in their
// environment, so that their spans are children of its span: TRACEPARENT, and
// TRACESTATE where there is one.
func (t *Trace) Environ(path string) []string {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	span := t.spans[path]
	t.mu.Unlock()
	if span == nil {
		return nil
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpan(context.Background(), span), carrier)
	env := []string{"TRACEPARENT=" + carrier["traceparent"]}
	if state := carrier["tracestate"]; state != "" || os.Getenv("TRACESTATE") != "" {
		env = append(env, "TRACESTATE="+state) // not one that belongs to another parent
	}
	return env
}

// Retrying notes that a try failed and another follows.
func (t *Trace) Retrying(path, reason string, wait time.Duration) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if span := t.spans[path]; span != nil {
		span.AddEvent("retry", trace.WithAttributes(reasonKey.String(reason), waitKey.Float64(wait.Seconds())))
	}
}

// Finished ends the span of a stack with what is on record of it. A stack that was never started
// has a span without length.
func (t *Trace) Finished(s Stack, r *note.Record, at time.Time) {
	if t == nil {
		return
	}
	t.mu.Lock()
	span := t.spans[s.Path]
	delete(t.spans, s.Path)
	t.mu.Unlock()
	if span == nil {
		span = t.start(s, at)
	}
	span.SetAttributes(statusKey.String(string(r.Status)), taskResult(r.Status))
	if r.Exit != nil {
		span.SetAttributes(semconv.ProcessExitCode(*r.Exit))
	}
	if r.Tries > 1 {
		span.SetAttributes(triesKey.Int(r.Tries))
	}
	if r.Cause != "" {
		span.SetAttributes(causeKey.String(r.Cause))
	}
	switch r.Status {
	case note.OK, note.Drifted:
		span.SetStatus(codes.Ok, "")
	case note.Failed, note.Canceled:
		span.SetStatus(codes.Error, r.Reason)
		kind := string(r.Status)
		if r.Exit != nil && *r.Exit != 0 {
			kind = "exit_code_" + strconv.Itoa(*r.Exit)
		}
		span.SetAttributes(semconv.ErrorTypeKey.String(kind))
	}
	if r.Op == note.Deploy && (r.Status == note.OK || r.Status == note.Failed) {
		is := semconv.DeploymentStatusSucceeded
		if r.Status == note.Failed {
			is = semconv.DeploymentStatusFailed
		}
		span.SetAttributes(is)
	}
	span.End(trace.WithTimestamp(at))
}

// taskResult is a status in the words of cicd.pipeline.task.run.result. That a stack
// has drifted is what its run was to find out.
func taskResult(s note.Status) attribute.KeyValue {
	switch s {
	case note.OK, note.Drifted:
		return semconv.CICDPipelineTaskRunResultSuccess
	case note.Blocked:
		return semconv.CICDPipelineTaskRunResultSkip
	case note.Canceled:
		return semconv.CICDPipelineTaskRunResultCancellation
	}
	return semconv.CICDPipelineTaskRunResultFailure
}

// End ends the span of the run, with how many stacks ended how, sends what was not
// sent yet, and waits for that no longer than limit. What could not be sent is
// one warning.
func (t *Trace) End(counts map[note.Status]int, interrupted bool, limit time.Duration) {
	if t == nil {
		return
	}
	if t.whole != nil {
		result := semconv.CICDPipelineResultSuccess
		bad := 0
		for _, s := range []note.Status{note.Failed, note.Blocked, note.Canceled} {
			bad += counts[s]
		}
		switch {
		case interrupted:
			result = semconv.CICDPipelineResultCancellation
			t.whole.SetStatus(codes.Error, "interrupted")
		case bad > 0:
			result = semconv.CICDPipelineResultFailure
			t.whole.SetStatus(codes.Error, fmt.Sprintf("%d of %d stacks did not succeed", bad, t.run.Stacks))
			t.whole.SetAttributes(semconv.ErrorTypeKey.String("stacks_failed"))
		default:
			t.whole.SetStatus(codes.Ok, "")
		}
		t.whole.SetAttributes(result)
		for s, n := range counts {
			t.whole.SetAttributes(attribute.Int(countKey+string(s), n))
		}
		t.whole.End()
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := t.provider.Shutdown(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.failed != nil:
		err = t.failed // it says more
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("no answer within %v", limit)
	}
	if err != nil {
		t.warn(fmt.Sprintf("not all spans of the run could be sent to %s: %s", t.where, oneLine(err)))
	}
}

func oneLine(err error) string {
	return strings.Join(slices.DeleteFunc(strings.Split(err.Error(), "\n"), func(l string) bool { return strings.TrimSpace(l) == "" }), "; ")
}
