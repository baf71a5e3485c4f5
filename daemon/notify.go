package daemon

import (
	"context"
	"fmt"
	"log/slog"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd of a change of state. Without systemd (no
// NOTIFY_SOCKET) it does nothing.
func notify(ctx context.Context, log *slog.Logger, state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		log.WarnContext(ctx, "systemd could not be notified", "error", err)
	}
}

// status is the line that systemctl status shows.
func (q QueueInfo) status() string {
	paused := ""
	if q.Paused {
		paused = "; paused"
	}
	return fmt.Sprintf("STATUS=%d waiting, %d in work, %d done, %d failed%s", q.Queued, q.Running, q.Done, q.Failed, paused)
}
