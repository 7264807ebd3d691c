package main

import (
	"time"

	"github.com/observatory-trace/observatory-trace/attach"
	"github.com/observatory-trace/observatory-trace/node"
	"github.com/observatory-trace/observatory-trace/writer"
)

// serveMetrics serves a session's metrics at an address, until stop is called; empty stands for not at all.
func serveMetrics(address string, n *notes) (m *node.Metrics, stop func() error, err error) {
	if address == "" {
		return nil, func() error { return nil }, nil
	}
	m = node.NewMetrics(version())
	server, err := node.Serve(address, m)
	if err != nil {
		return nil, nil, err
	}
	n.say("metrics: http://%s/metrics", server.Address())
	return m, server.Close, nil
}

// tell has the metrics know what a sweep has seen, and the store has left of it.
func (r *recorder) tell(counts attach.Counts, seconds []writer.FunctionSecond, now time.Time) {
	blind, err := r.session.Blind()
	r.fail(err)
	functions, processes := r.session.Attached()
	r.metrics.Swept(node.Sweep{
		Time: now, Seconds: seconds, Tallies: counts.Tallies, Losses: counts.Losses, Blind: blind,
		Functions: functions, Processes: processes,
		CallsFill: r.session.Fill(), ErrorsFill: r.session.ErrorsFill(), DecodingFill: r.decoder.Fill(),
		Budget: r.warden.budget(),
	})
}

// budget is what is taken, and what may be.
func (w *warden) budget() node.Budget {
	b := node.Budget{Overhead: w.governor.Overhead(), Limits: w.budgets.limits, Steps: w.steps}
	for _, l := range w.loads {
		switch s := w.governor.Setting(l.Func); {
		case s.Sliced():
			b.Sliced++
		case s.Keep < 1:
			b.Sampled++
		}
	}
	return b
}
