package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/riverqueue/river"
)

// OpenSharedControl is for the cluster of a database, wherever its daemon is.
func OpenSharedControl(ctx context.Context, url string, isVideo func(name string) bool) (*Control, error) {
	log := slog.New(slog.DiscardHandler)
	soon, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	l, err := openShared(soon, url, endTimeout, log)
	if err != nil {
		return nil, err
	}
	q := &queue{ledger: l, isVideo: isVideo}
	err = l.checkShared(ctx, log)
	if err == nil {
		var c clusterRow
		c, err = readCluster(ctx, l.db)
		q.lanes, l.root = lanes{photo: c.photo, plan: c.video, join: "join_" + strings.TrimPrefix(c.video, "plan_")}, c.root
	}
	if err == nil {
		q.client, err = newClient(l, nil, &river.Config{MaxAttempts: maxAttempts, Logger: log})
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &Control{queue: q, owned: true}, nil
}

// WorkerInfo is a process of a cluster, as [Control.Workers] tells of it.
type WorkerInfo struct {
	ID       string    `json:"id"`
	Machine  string    `json:"machine"`
	Role     string    `json:"role"` // daemon or worker
	Version  string    `json:"version"`
	Provider string    `json:"provider"` // that its model runs on
	Model    string    `json:"model"`
	SHA256   string    `json:"sha256"` // the model's
	Encoders string    `json:"encoders"`
	Queues   []string  `json:"queues"` // that it takes jobs from, in this order
	Workers  int       `json:"workers"`
	Jobs     int       `json:"jobs"` // in work
	Done     int       `json:"done"` // jobs since its start
	FPS      float64   `json:"fps"`  // pictures of videos a second, lately, in both passes
	Faces    float64   `json:"faces"`
	Started  time.Time `json:"started"`
	Seen     time.Time `json:"seen"`
	Silent   bool      `json:"silent"`            // for longer than queue.lease: its work is taken over
	Differs  bool      `json:"differs,omitempty"` // its settings or model aren't the daemon's: it takes nothing of that kind
}

// WorkerList is the answer to Workers.
type WorkerList struct {
	Workers []WorkerInfo `json:"workers"` // none where the queue isn't shared
}

// Workers lists the processes of the cluster, the daemon's too.
func (c *Control) Workers(ctx context.Context) (WorkerList, error) {
	list := WorkerList{Workers: []WorkerInfo{}}
	l := c.queue.ledger
	if l.shared == nil {
		return list, nil
	}
	of, err := readCluster(ctx, l.db)
	if err != nil {
		return list, err
	}
	rows, err := l.db.QueryContext(ctx, `SELECT id, machine, role, version, provider, model, sha256, encoders, takes, slots, jobs, done,
		fps, faces, started, seen, seen < now() - $1 * interval '1 millisecond' FROM workers ORDER BY role, machine, id`, of.lease.Milliseconds())
	if err != nil {
		return list, fmt.Errorf("cluster: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var w WorkerInfo
		var takes string
		err := rows.Scan(&w.ID, &w.Machine, &w.Role, &w.Version, &w.Provider, &w.Model, &w.SHA256, &w.Encoders, &takes, &w.Workers,
			&w.Jobs, &w.Done, &w.FPS, &w.Faces, &w.Started, &w.Seen, &w.Silent)
		if err != nil {
			return list, fmt.Errorf("cluster: %w", err)
		}
		w.Queues = []string{}
		for lane := range strings.SplitSeq(takes, ",") {
			if lane == "" {
				continue
			}
			w.Queues = append(w.Queues, lane)
			w.Differs = w.Differs || strings.HasPrefix(lane, "photo_") && lane != of.photo || strings.HasPrefix(lane, "plan_") && lane != of.video
		}
		w.FPS, w.Faces = float64(int64(w.FPS*10+0.5))/10, float64(int64(w.Faces*10+0.5))/10
		list.Workers = append(list.Workers, w)
	}
	return list, rows.Err()
}
