package ddnsipv6

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	metricsNamespace = "caddy"
	metricsSubsystem = "ddns_ipv6"
)

func newDelayHistogram() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem,
		Name:    "update_delay_seconds",
		Help:    "Seconds from the event that told of a new address to its confirmation by the provider.",
		Buckets: []float64{.05, .1, .2, .3, .5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200},
	})
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, name), help, labels, nil)
}

// The metrics that are read off the state when Prometheus asks.
var (
	updatesDesc = describe("updates_total",
		"Updates of a name's AAAA records, by result: success (confirmed) or failure.", "name", "result")
	addressDesc = describe("address_info",
		"1 for the address that a name has, confirmed by its provider.", "name", "address")
	ageDesc = describe("confirmation_age_seconds",
		"Seconds since a name's records were confirmed last.", "name")
)

// collector gives Prometheus the state of an app's names. The counts are kept
// in the ledger, and so go on after a reload; names that are no longer managed
// are gone at once.
type collector struct{ app *App }

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- updatesDesc
	ch <- addressDesc
	ch <- ageDesc
	newDelayHistogram().Describe(ch)
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	l := c.app.ledger.Load()
	if l == nil {
		return // not started yet
	}
	l.delay.Collect(ch)
	for _, u := range c.app.updaters {
		for _, j := range u.jobs {
			s, name := j.entry.now(), j.name()
			ch <- prometheus.MustNewConstMetric(updatesDesc, prometheus.CounterValue, float64(s.Updates), name, "success")
			ch <- prometheus.MustNewConstMetric(updatesDesc, prometheus.CounterValue, float64(s.FailedUpdates), name, "failure")
			if s.Address.IsValid() {
				ch <- prometheus.MustNewConstMetric(addressDesc, prometheus.GaugeValue, 1, name, s.Address.String())
			}
			if !s.Verified.IsZero() {
				ch <- prometheus.MustNewConstMetric(ageDesc, prometheus.GaugeValue, time.Since(s.Verified).Seconds(), name)
			}
		}
	}
}

// Interface guard
var _ prometheus.Collector = collector{}
