package daemon

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// This file holds what the machines of a cluster have to agree upon: which jobs
// each may take, and that all see the same storage.

// Machine is what a process says of itself to the others of its cluster.
type Machine struct {
	Version  string // of restored
	Model    string
	SHA256   string // the model's
	Provider string // that the model runs on
	Encoders string // names the builds of FFmpeg and its encoders
}

// lanes are River's queues that jobs are put in, so that only machines fetch
// them that make the same of them. Of one machine all are River's default.
type lanes struct {
	photo   string // photos, by the settings for photos
	plan    string // plans, by the settings for videos
	join    string
	segment string // segments, also by the provider and the encoders
}

// lanesOf are those of a machine whose settings are settings, for profiles and "".
func lanesOf(m Machine, settings func(profile string, video bool) string, profiles []string) lanes {
	hash := func(parts ...string) string {
		h := sha256.Sum256([]byte(strings.Join(parts, "\n")))
		return hex.EncodeToString(h[:6])
	}
	var photo, video []string
	for _, p := range append(slices.Sorted(slices.Values(profiles)), "") {
		photo = append(photo, p, settings(p, false))
		video = append(video, p, settings(p, true))
	}
	v := hash(video...)
	return lanes{
		photo: "photo_" + hash(photo...), plan: "plan_" + v, join: "join_" + v,
		segment: "segment_" + v + "_" + hash(m.Provider, m.Encoders),
	}
}

// sameVideos tells whether a lane of segments belongs to the settings of n.
func (n lanes) sameVideos(lane string) bool {
	return strings.HasPrefix(lane, "segment_"+strings.TrimPrefix(n.plan, "plan_")+"_")
}

// Takes are the names of what a machine may take, in the order in which it looks
// for work: photos don't wait behind films, and a film that was begun is
// finished before the next one is planned.
var Takes = []string{"photo", "join", "segment"}

// taken are River's queues of what a machine takes.
func (n lanes) taken(takes []string) []string {
	var all []string
	for _, what := range Takes {
		if !slices.Contains(takes, what) {
			continue
		}
		switch what {
		case "photo":
			all = append(all, n.photo)
		case "join":
			all = append(all, n.join)
		case "segment": // who plans a video can do its segments
			all = append(all, n.segment, n.plan)
		}
	}
	return all
}

// clusterRow is what the daemon tells its workers.
type clusterRow struct {
	id, version  string
	root         string // as the daemon sees it
	folders      []sharedFolder
	lease        time.Duration
	photo, video string // lanes of the daemon
}

// sharedFolder is a watched folder, as the daemon sees it. Paths are bytes.
type sharedFolder struct {
	In        []byte `json:"in"`
	Out       []byte `json:"out"`
	Profile   string `json:"profile"`
	Originals string `json:"originals"`
}

func readCluster(ctx context.Context, db querier) (c clusterRow, err error) {
	var root, folders []byte
	var ms int64
	err = db.QueryRowContext(ctx, "SELECT id, version, root, folders, lease_ms, photo, video FROM cluster").
		Scan(&c.id, &c.version, &root, &folders, &ms, &c.photo, &c.video)
	c.root, c.lease = string(root), time.Duration(ms)*time.Millisecond
	if err == nil && len(folders) > 0 {
		err = json.Unmarshal(folders, &c.folders)
	}
	if err != nil {
		return c, fmt.Errorf("ledger: cluster: %w", err)
	}
	return c, nil
}

// writeCluster notes what the daemon has to tell.
func (l *Ledger) writeCluster(ctx context.Context, c clusterRow) error {
	folders, err := json.Marshal(c.folders)
	if err != nil {
		return err
	}
	err = l.inTx(ctx, func(tx *sql.Tx) error {
		if err := noOthers(ctx, tx, c.version); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE cluster SET version = $1, root = $2, folders = $3, lease_ms = $4, photo = $5, video = $6",
			c.version, pathText(c.root), folders, c.lease.Milliseconds(), c.photo, c.video)
		return err
	})
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	return nil
}

// noOthers refuses while a process of another version was seen within its lease.
func noOthers(ctx context.Context, tx *sql.Tx, version string) error {
	var machine, other string
	var pid int64
	err := tx.QueryRowContext(ctx, `SELECT machine, pid, version FROM workers WHERE version <> $1
		AND seen > now() - (SELECT lease_ms FROM cluster) * interval '1 millisecond' ORDER BY id LIMIT 1`, version).
		Scan(&machine, &pid, &other)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s (process %d) runs %s and this is %s: stop the workers first, then upgrade the daemon, then the workers",
		ErrSkew, machine, pid, other, version)
}

// foldersOf is what the workers need of the watched folders.
func foldersOf(roots []root) []sharedFolder {
	all := make([]sharedFolder, len(roots))
	for i, r := range roots {
		all[i] = sharedFolder{In: []byte(r.in), Out: []byte(r.out), Profile: r.profile, Originals: r.originals}
	}
	return all
}

// rootsOf are the watched folders where this machine sees them.
func (l *Ledger) rootsOf(folders []sharedFolder, outName func(string) string) []root {
	roots := make([]root, len(folders))
	for i, f := range folders {
		roots[i] = root{
			in: l.paths.local(string(f.In)), out: l.paths.local(string(f.Out)), outName: outName,
			profile: f.Profile, originals: f.Originals,
		}
	}
	return roots
}

// selfTestName is the file in the shared folder that holds the cluster's name.
const selfTestName = "restored-cluster"

// markStorage writes the self-test file, or refuses another cluster's.
func markStorage(dir, id string) error {
	file := filepath.Join(dir, selfTestName)
	err := checkStorage(dir, id)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return writeNew(file, tempPrefix, func(f *os.File) error {
		_, err := f.WriteString(id + "\n")
		return errors.Join(err, f.Chmod(0o640))
	})
}

// checkStorage proves that a folder is the cluster's.
func checkStorage(dir, id string) error {
	file := filepath.Join(dir, selfTestName)
	found, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the shared folder isn't here: %w: is the storage mounted, and does queue.paths say where?", err)
	}
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(found)) != id {
		return fmt.Errorf("%s belongs to another cluster than the database of queue.url: is another storage mounted there?", file)
	}
	return nil
}

// parsePaths understands queue.paths: THEIRS=OURS, separated by commas.
func parsePaths(text string) (pathMap, error) {
	var m pathMap
	for pair := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(text) == "" {
			break
		}
		theirs, ours, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || !filepath.IsAbs(theirs) || !filepath.IsAbs(ours) {
			return nil, fmt.Errorf("queue.paths: %q isn't /THEIRS=/OURS", pair)
		}
		// As the ledger names paths: without links.
		real, err := resolve(ours)
		if err != nil {
			return nil, fmt.Errorf("queue.paths: %w", err)
		}
		m = append(m, struct{ theirs, ours string }{filepath.Clean(theirs), real})
	}
	return m, nil
}

// moveJobs puts what waits for a daemon with other settings before the machines
// of this one.
func (q *queue) moveJobs(ctx context.Context, tx *sql.Tx) error {
	for kind, lane := range map[string]string{
		photoArgs{}.Kind(): q.lanes.photo, videoArgs{}.Kind(): q.lanes.plan, joinArgs{}.Kind(): q.lanes.join,
	} {
		_, err := tx.ExecContext(ctx, `UPDATE river_job SET queue = $1 WHERE kind = $2 AND queue <> $1
			AND state IN ('available', 'pending', 'retryable', 'scheduled')`, lane, kind)
		if err != nil {
			return err
		}
	}
	return nil
}
