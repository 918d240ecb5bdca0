// Package telemetry shows the state, and what happens to it, to the tools that
// watch machines: [Collector] is the state as Prometheus metrics, [Trace] a run as
// OpenTelemetry spans.
//
// The names of metrics follow Prometheus' conventions
// (prometheus.io/docs/practices/naming), those of attributes OpenTelemetry's
// semantic conventions for CI/CD and version control
// (opentelemetry.io/docs/specs/semconv, 1.40.0); what these have no name for starts with
// tmnotes. A name that was released stays.
//
// Telemetry is an aid: what cannot be sent is a warning and changes nothing of a
// run. State that cannot be read is an error all the same.
package telemetry
