//go:build unix

package cli

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// receiver is a collector: it takes spans in by both protocols of OTLP.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	http, grpc string // endpoints

	mu sync.Mutex
	arrived
}

// arrived is what a receiver got.
type arrived struct {
	spans    map[string]*tracepb.Span // by name
	resource map[string]string
	headers  []string
}

func nothing() arrived {
	return arrived{spans: map[string]*tracepb.Span{}, resource: map[string]string{}}
}

// received hands over what has arrived since the last time.
func (r *receiver) received() arrived {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.arrived
	r.arrived = nothing()
	return got
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{arrived: nothing()}
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, err := io.ReadAll(req.Body)
		msg := &collector.ExportTraceServiceRequest{}
		if err != nil || req.URL.Path != "/v1/traces" || req.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(b, msg) != nil {
			http.Error(w, "no spans", http.StatusBadRequest)
			return
		}
		r.take(msg, req.Header.Values("X-Tenant"))
		w.Header().Set("Content-Type", "application/x-protobuf")
		b, _ = proto.Marshal(&collector.ExportTraceServiceResponse{})
		_, _ = w.Write(b)
	}))
	t.Cleanup(hs.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gs := grpc.NewServer()
	collector.RegisterTraceServiceServer(gs, r)
	go func() { _ = gs.Serve(l) }()
	t.Cleanup(gs.Stop)
	r.http, r.grpc = hs.URL, "http://"+l.Addr().String()
	return r
}

// Export is the gRPC service.
func (r *receiver) Export(ctx context.Context, msg *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	r.take(msg, md.Get("x-tenant"))
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *receiver) take(msg *collector.ExportTraceServiceRequest, headers []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.headers = append(r.headers, headers...)
	for _, rs := range msg.ResourceSpans {
		for _, kv := range rs.Resource.Attributes {
			r.resource[kv.Key] = kv.Value.GetStringValue()
		}
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				r.spans[s.Name] = s
			}
		}
	}
}

// attributes are those of a span, as text.
func attributes(kvs []*commonpb.KeyValue) map[string]string {
	got := map[string]string{}
	for _, kv := range kvs {
		switch v := kv.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			got[kv.Key] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			got[kv.Key] = strconv.FormatInt(v.IntValue, 10)
		}
	}
	return got
}

const (
	outerTrace  = "0af7651916cd43dd8448eb211c80319c"
	outerParent = "b7ad6b7169203331"
)

func TestSpans(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			r, w := newReceiver(t), newWorld(t)
			w.project("work", "/a", "/b:/a", "/c")
			w.script("traced", `echo "$TRACEPARENT $TRACESTATE" >"$WORK/env${PWD##*/}"; test "${PWD##*/}" != a || { echo "Error: token=hunter2hunter2 is no good" >&2; exit 7; }`)
			endpoint := r.http
			if protocol == "grpc" {
				endpoint = r.grpc
			}
			w.env = append(w.env, "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol, "OTEL_EXPORTER_OTLP_HEADERS=x-tenant=acme",
				"OTEL_SERVICE_NAME=infra", "OTEL_RESOURCE_ATTRIBUTES=team=platform", "TRACEPARENT=00-"+outerTrace+"-"+outerParent+"-01", "TRACESTATE=vendor=1")
			out := w.exits(exitFailed, w.command("work", "tmnotes", "run", "--op", "deploy", "--target", "eu", "--retry", "1", "--", "traced"))
			if strings.Contains(out, "warning") {
				t.Error(out)
			}
			sent := r.received()
			if sent.resource["service.name"] != "infra" || sent.resource["team"] != "platform" || sent.resource["telemetry.sdk.language"] != "go" || !slices.Contains(sent.headers, "acme") {
				t.Errorf("resource %v, headers %v", sent.resource, sent.headers)
			}
			head := strings.TrimSpace(w.run("work", "git", "rev-parse", "HEAD"))
			for _, tc := range []struct {
				name, parent, message string
				status                tracepb.Status_StatusCode
				has                   map[string]string
			}{
				{"RUN deploy", "", "2 of 3 stacks did not succeed", tracepb.Status_STATUS_CODE_ERROR, map[string]string{
					"cicd.pipeline.name": "deploy", "cicd.pipeline.result": "failure", "vcs.ref.head.revision": head, "deployment.environment.name": "eu",
					"tmnotes.stacks": "3", "tmnotes.stacks.ok": "1", "tmnotes.stacks.failed": "1", "tmnotes.stacks.blocked": "1", "error.type": "stacks_failed"}},
				{"/a", "RUN deploy", "Error: token=*** is no good", tracepb.Status_STATUS_CODE_ERROR, map[string]string{
					"cicd.pipeline.task.name": "/a", "cicd.pipeline.task.run.result": "failure", "process.exit.code": "7", "error.type": "exit_code_7", "tmnotes.status": "failed",
					"tmnotes.tries": "2", "tmnotes.stack.id": "id-a", "deployment.status": "failed", "cicd.pipeline.task.type": "deploy", "deployment.environment.name": "eu"}},
				{"/b", "RUN deploy", "", tracepb.Status_STATUS_CODE_UNSET, map[string]string{
					"cicd.pipeline.task.run.result": "skip", "tmnotes.status": "blocked", "tmnotes.blocked_by": "/a"}},
				{"/c", "RUN deploy", "", tracepb.Status_STATUS_CODE_OK, map[string]string{
					"cicd.pipeline.task.run.result": "success", "process.exit.code": "0", "tmnotes.status": "ok", "deployment.status": "succeeded", "vcs.ref.head.revision": head}},
			} {
				s := sent.spans[tc.name]
				if s == nil {
					t.Errorf("%s did not arrive", tc.name)
					continue
				}
				parent := outerParent
				if p := sent.spans[tc.parent]; p != nil {
					parent = hex.EncodeToString(p.SpanId)
				}
				if hex.EncodeToString(s.TraceId) != outerTrace || hex.EncodeToString(s.ParentSpanId) != parent || s.TraceState != "vendor=1" {
					t.Errorf("%s is in trace %x below %x, state %q", tc.name, s.TraceId, s.ParentSpanId, s.TraceState)
				}
				if s.Status.GetCode() != tc.status || s.Status.GetMessage() != tc.message {
					t.Errorf("%s: status %v", tc.name, s.Status)
				}
				got := attributes(s.Attributes)
				for k, v := range tc.has {
					if got[k] != v {
						t.Errorf("%s: %s is %q, not %q", tc.name, k, got[k], v)
					}
				}
				if s.EndTimeUnixNano < s.StartTimeUnixNano || tc.name != "/b" && s.EndTimeUnixNano == s.StartTimeUnixNano {
					t.Errorf("%s: from %d to %d", tc.name, s.StartTimeUnixNano, s.EndTimeUnixNano)
				}
				if tc.name == "/a" && (len(s.Events) != 1 || s.Events[0].Name != "retry" || attributes(s.Events[0].Attributes)["tmnotes.reason"] != tc.message) {
					t.Errorf("events of /a: %v", s.Events)
				}
				if tc.name == "/a" || tc.name == "/c" {
					env, err := os.ReadFile(w.path("env" + tc.name[1:]))
					if want := "00-" + outerTrace + "-" + hex.EncodeToString(s.SpanId) + "-01 vendor=1\n"; err != nil || string(env) != want {
						t.Errorf("the children of %s found %q, not %q: %v", tc.name, env, want, err)
					}
				}
			}

			// exec: a span of the stack alone, below whatever called it.
			w.run("work/c", "tmnotes", "exec", "--op", "deploy", "--force", "--", "traced")
			sent = r.received()
			if s := sent.spans["/c"]; len(sent.spans) != 1 || s == nil || hex.EncodeToString(s.ParentSpanId) != outerParent || s.Status.GetCode() != tracepb.Status_STATUS_CODE_OK {
				t.Errorf("exec sent %v", sent.spans)
			}
		})
	}
}

// Where nothing is to be sent, nothing is, and TRACEPARENT comes to the children as it is.
func TestNoSpans(t *testing.T) {
	t.Parallel()
	r, w := newReceiver(t), newWorld(t)
	w.project("work", "/a")
	w.script("traced", `echo "$TRACEPARENT" >"$WORK/env"`)
	traceparent := "00-" + outerTrace + "-" + outerParent + "-01"
	endpoint := "OTEL_EXPORTER_OTLP_ENDPOINT=" + r.http
	for _, tc := range []struct{ vars, says string }{
		{"", ""},
		{endpoint + " OTEL_SDK_DISABLED=true", ""},
		{endpoint + " OTEL_TRACES_EXPORTER=none", ""},
		{endpoint + " OTEL_TRACES_EXPORTER=zipkin", "warning: no spans are sent: OTEL_TRACES_EXPORTER=zipkin: there is otlp and none"},
		{endpoint + " OTEL_EXPORTER_OTLP_PROTOCOL=http/json", "warning: no spans are sent: OTEL_EXPORTER_OTLP_PROTOCOL=http/json: there is http/protobuf and grpc"},
		{endpoint + " OTEL_TRACES_SAMPLER=always_off", ""},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4318", "warning: no spans are sent: OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4318 is not a URL"},
	} {
		cmd := w.command("work", "tmnotes", "run", "--op", "deploy", "--force", "--", "traced")
		cmd.Env = append(append(slices.Clone(w.env), strings.Fields(tc.vars)...), "TRACEPARENT="+traceparent)
		out := w.exits(exitOK, cmd)
		if tc.says == "" && strings.Contains(out, "warning") || !strings.Contains(out, tc.says) {
			t.Errorf("%s: %s", tc.vars, out)
		}
		env, err := os.ReadFile(w.path("env"))
		if err != nil || !strings.Contains(tc.vars, "SAMPLER") && string(env) != traceparent+"\n" {
			t.Errorf("%s: the child found %q: %v", tc.vars, env, err)
		}
	}
	if sent := r.received(); len(sent.spans) > 0 {
		t.Errorf("received %v", sent.spans)
	}
}

// A collector that is not there, or never answers, costs a bounded time at the end, and a warning.
func TestNoCollector(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes the connections, nobody reads
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() }) // after the parallel ones
	for _, tc := range []struct{ name, endpoint, protocol string }{
		{"gone", "http://user:hunter2@127.0.0.1:1", "http/protobuf"}, {"gone, grpc", "http://127.0.0.1:1", "grpc"},
		{"silent", "http://" + silent.Addr().String(), "http/protobuf"}, {"silent, grpc", "http://" + silent.Addr().String(), "grpc"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.project("work", "/a")
			w.env = append(w.env, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+tc.endpoint, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="+tc.protocol)
			began := time.Now()
			out := w.exits(exitOK, w.command("work", "tmnotes", "run", "--op", "deploy", "--", "deploy"))
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			if strings.Count(out, "warning: not all spans of the run could be sent to http://") != 1 || strings.Contains(out, "hunter2") {
				t.Error(out)
			}
			for line := range strings.Lines(out) { // nothing of the SDK's own
				if !strings.HasPrefix(line, "tmnotes: ") && !strings.HasPrefix(line, "deployed ") && !strings.HasPrefix(line, "STATUS ") && !strings.HasPrefix(line, "ok ") && line != "\n" {
					t.Errorf("somebody else says %q", line)
				}
			}
		})
	}
}

// A scrape needs the token, and fails where the state cannot be read.
func TestServeMetrics(t *testing.T) {
	t.Parallel()
	w := newCloudWorld(t, "/a", "/b:/a")
	w.run("work", "tmnotes", "run", "-X", "--op", "deploy", "--", "deploy")
	vars, _, stderr := w.serving()
	var url, token string
	for _, kv := range vars {
		switch name, v, _ := strings.Cut(kv, "="); name {
		case "TMC_API_URL":
			url = v
		case "TMC_TOKEN":
			token = v
		}
	}
	scrape := func(set func(*http.Request)) (int, string) {
		t.Helper()
		req, err := http.NewRequest("GET", url+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		set(req)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	for name, set := range map[string]func(*http.Request){
		"no token": func(*http.Request) {}, "a wrong one": bearer(token + "x"), "none": bearer(""), "a wrong user": func(r *http.Request) { r.SetBasicAuth("x", token) },
	} {
		if code, body := scrape(set); code != http.StatusUnauthorized || strings.Contains(body, "tmnotes_") {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	for name, set := range map[string]func(*http.Request){"bearer": bearer(token), "basic": func(r *http.Request) { r.SetBasicAuth(token, "") }} {
		code, body := scrape(set)
		if code != http.StatusOK || !strings.Contains(body, "\ntmnotes_stack_status{stack=\"/b\",status=\"ok\",target=\"\"} 1\n") {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	// What is recorded while it serves is in the next scrape.
	w.run("work", "tmnotes", "mark", "--reason", "a test", "--status", "failed", "/b")
	if _, body := scrape(bearer(token)); !strings.Contains(body, "\ntmnotes_stack_status{stack=\"/b\",status=\"failed\",target=\"\"} 1\n") {
		t.Error(body)
	}
	ref := w.path("work", ".git", "refs", "notes", "tmnotes")
	was, err := os.ReadFile(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ref, []byte(strings.Repeat("1", 40)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, body := scrape(bearer(token)); code != http.StatusInternalServerError || strings.Contains(body, "tmnotes_stacks{") {
		t.Errorf("unreadable: %d %s", code, body)
	}
	w.await("the warning", func() bool { return strings.Contains(stderr.String(), "warning: metrics: ") })
	if err := os.WriteFile(ref, was, 0o644); err != nil {
		t.Fatal(err)
	}
}

// What --on-change runs and does not end is interrupted, then killed, and costs the run a
// bounded time.
func TestOnChangeHangs(t *testing.T) {
	t.Parallel()
	if os.Getenv("TMNOTES_LONG_TESTS") == "" {
		t.Skip("half a minute of waiting; TMNOTES_LONG_TESTS=1 runs it")
	}
	w := newWorld(t)
	w.project("work", "/a", "/b")
	w.script("hangs", `trap "" INT; echo $$ >"$WORK/pid"; while :; do sleep 1; done`)
	began := time.Now()
	out := w.exits(exitFailed, w.command("work", "tmnotes", "run", "--op", "deploy", "--on-change", "exec hangs", "--", "false"))
	if took := time.Since(began); took < hooksAtEnd || took > hooksAtEnd+15*time.Second {
		t.Errorf("it took %v", took)
	}
	if !strings.Contains(out, "warning: --on-change, of /a (failed, never before): ") || !strings.Contains(out, "warning: --on-change was not told that /b, never before, is failed: there was no time left") {
		t.Error(out)
	}
	pid, err := os.ReadFile(w.path("pid"))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(pid))); err != nil || syscall.Kill(n, 0) == nil {
		t.Errorf("the command %s lives on: %v", pid, err)
	}
}
