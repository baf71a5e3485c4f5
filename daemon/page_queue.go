package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"riverqueue.com/riverui"
)

// riverPage is River's own page under a prefix. It looks into its tables by
// itself until ctx is done.
func (q *queue) riverPage(ctx context.Context, prefix string, log *slog.Logger) (http.Handler, error) {
	page, err := riverui.NewHandler(&riverui.HandlerOpts{
		Endpoints: riverui.NewEndpoints(q.client, nil), Prefix: prefix, Logger: slog.New(atLeast{log.Handler(), slog.LevelWarn}),
	})
	if err == nil {
		err = page.Start(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("page of the queue: %w", err)
	}
	return page, nil
}
