package daemon

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"restored/config"
)

// Reloadable are the keys of the configuration that a running daemon takes
// over. The caller's log level is the caller's to change.
var Reloadable = []string{"disk.reserve", "log.level"}

// Reload takes over what it can of another configuration, logs what has changed
// and waits for a restart, and tells the service manager. An invalid one
// changes nothing. It may be called from any goroutine while Run runs.
func (d *Daemon) Reload(ctx context.Context, cfg *config.Config) error {
	log := d.deps.Log
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &since); err == nil {
		notify(ctx, log, fmt.Sprintf("%s\nMONOTONIC_USEC=%d", sd.SdNotifyReloading, since.Nano()/1000))
		defer notify(ctx, log, sd.SdNotifyReady)
	}
	if err := cfg.Validate(); err != nil {
		return err
	}
	d.reloading.Lock()
	defer d.reloading.Unlock()
	for _, key := range changed(d.cfg, cfg) {
		value := cfg.Shown(key)
		if !slices.Contains(Reloadable, key) {
			log.WarnContext(ctx, "setting changed: it counts from the next start", "key", key, "value", value)
			continue
		}
		log.InfoContext(ctx, "setting changed", "key", key, "value", value)
	}
	d.reserve.Store(int64(cfg.Disk.Reserve))
	d.cfg.Disk.Reserve, d.cfg.Log.Level = cfg.Disk.Reserve, cfg.Log.Level
	log.InfoContext(ctx, "configuration reloaded")
	return nil
}

// changed lists the keys that differ.
func changed(a, b *config.Config) []string {
	var keys []string
	if !reflect.DeepEqual(a.Watch, b.Watch) {
		keys = append(keys, "watch")
	}
	for _, o := range config.Reference() {
		before, _ := a.Value(o.Key)
		if now, _ := b.Value(o.Key); now != before {
			keys = append(keys, o.Key)
		}
	}
	return keys
}
