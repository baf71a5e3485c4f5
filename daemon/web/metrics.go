package web

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

var (
	upDesc   = prometheus.NewDesc("restored_folder_up", "1 while the watched folder answers and its results can be written.", []string{"folder"}, nil)
	freeDesc = prometheus.NewDesc("restored_folder_free_bytes", "Free space on the disk of the results of a watched folder.", []string{"folder"}, nil)
)

// folderMetrics tells of the watched folders. One that doesn't answer costs
// healthTime, and has no free space.
type folderMetrics struct{ s *Server }

// Describe implements prometheus.Collector.
func (f folderMetrics) Describe(descs chan<- *prometheus.Desc) {
	descs <- upDesc
	descs <- freeDesc
}

// Collect implements prometheus.Collector.
func (f folderMetrics) Collect(out chan<- prometheus.Metric) {
	for _, info := range f.s.folders(context.Background()) {
		up := 0.0
		if info.Problem == "" {
			up = 1
		}
		folder := strings.ToValidUTF8(info.In, "\uFFFD") // a label has to be UTF-8
		out <- prometheus.MustNewConstMetric(upDesc, prometheus.GaugeValue, up, folder)
		if info.Free > 0 {
			out <- prometheus.MustNewConstMetric(freeDesc, prometheus.GaugeValue, float64(info.Free), folder)
		}
	}
}

// metrics answers scrapes, two at a time. What can't be looked up is left out,
// and told in the log.
func (s *Server) metrics() http.Handler {
	s.opt.Metrics.MustRegister(folderMetrics{s})
	return promhttp.HandlerFor(s.opt.Metrics, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 2,
		ErrorLog: slog.NewLogLogger(s.opt.Log.Handler(), slog.LevelWarn),
	})
}
