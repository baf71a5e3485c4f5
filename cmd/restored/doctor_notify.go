package main

import (
	"context"
	"slices"

	"golang.org/x/sys/unix"

	"restored/config"
)

// notify looks at the commands that are told of files' ends.
func (d *doctor) notify(_ context.Context, cfg *config.Config) {
	for i, command := range [][]string{cfg.Notify.OnDone, cfg.Notify.OnFailed} {
		if len(command) == 0 {
			continue
		}
		key := []string{"notify.on_done", "notify.on_failed"}[i]
		if err := unix.Access(command[0], unix.X_OK); err != nil {
			d.add("notices", stateFail, "install it, make it executable for the daemon's user, or change "+key, "%s can't be run: %v", command[0], err)
			continue
		}
		d.add("notices", stateOK, "", "%s can be run", command[0])
	}
	if cfg.Notify.URL != "" && cfg.Notify.Secret == "" {
		d.add("notices", stateNote, "set notify.secret (openssl rand -hex 32 makes one), and have the receiver check it", "what is posted to notify.url isn't signed: anybody could post the like")
	}
}

// network compares what needs a network with the unit's sandbox.
func (d *doctor) network(cfg *config.Config, settings map[string][]string) {
	var need []string
	if cfg.HTTP.Listen != "" {
		need = append(need, "http.listen")
	}
	if cfg.Notify.URL != "" {
		need = append(need, "notify.url")
	}
	value := settings["PrivateNetwork"]
	if len(value) == 0 || !slices.Contains([]string{"yes", "true", "on", "1"}, value[len(value)-1]) {
		return
	}
	for _, key := range need {
		d.add("systemd sandbox", stateFail, "take systemd/drop-ins/network.conf, and restart the service", "%s needs the network, and the service has none: PrivateNetwork=%s", key, value[len(value)-1])
	}
}
