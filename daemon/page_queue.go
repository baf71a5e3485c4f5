package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"riverqueue.com/riverui"
)

// riverPage is River's own page under a prefix. It looks into its tables by
// itself until ctx is done.
func (q *queue) riverPage(ctx context.Context, prefix string, log *slog.Logger) (http.Handler, error) {
	endpoints := riverui.NewEndpoints(q.client, nil)
	if q.ledger.shared != nil { // whose transactions are River's own there
		client, err := river.NewClient(riverpgxv5.New(q.ledger.shared.pool), &river.Config{})
		if err != nil {
			return nil, fmt.Errorf("page of the queue: %w", err)
		}
		endpoints = riverui.NewEndpoints(client, nil)
	}
	page, err := riverui.NewHandler(&riverui.HandlerOpts{
		Endpoints: endpoints, Prefix: prefix, Logger: slog.New(atLeast{log.Handler(), slog.LevelWarn}),
	})
	if err == nil {
		err = page.Start(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("page of the queue: %w", err)
	}
	return page, nil
}
