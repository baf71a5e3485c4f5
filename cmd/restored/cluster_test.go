package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"restored/daemon/pgtest"
)

// clusterSite is a daemon that only watches, and the folders of a cluster.
type clusterSite struct {
	t      testing.TB
	dir    string
	config string
	url    string
	server *pgtest.Server
	logs   map[*exec.Cmd]*serveLog
	film   time.Duration
}

// clusterPhotos is how many photos there are besides the film.
const clusterPhotos = 10

// clusterFilm is the length of TestCluster's film. CI takes the shortest that
// all can happen in; go test ./cmd/restored -run TestCluster$ -args -film 5m
var clusterFilm = flag.Duration("film", 12*time.Second, "length of TestCluster's film")

// newClusterSite takes the configuration's section queue, and how long its
// film is.
func newClusterSite(t testing.TB, server *pgtest.Server, queue string, film time.Duration) *clusterSite {
	t.Helper()
	c := &clusterSite{t: t, dir: t.TempDir(), server: server, url: server.Database(t), logs: map[*exec.Cmd]*serveLog{}, film: film}
	in := filepath.Join(c.dir, "in")
	if err := os.Mkdir(in, 0o755); err != nil {
		t.Fatal(err)
	}
	c.config = filepath.Join(c.dir, "restored.yaml")
	text := fmt.Sprintf(`watch: [{in: %s, out: %s}]
state: %s
queue: %s
workers: 1
restore: {model: pltrans-s-int8}
video: {segment: 2s}
settle: {quiet: 200ms}
disk: {reserve: 0}
`, in, filepath.Join(c.dir, "out"), filepath.Join(c.dir, "state"), queue)
	if err := os.WriteFile(c.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// fill makes the inputs, once the workers are ready: ten photos, and a film in
// segments of two seconds.
func (c *clusterSite) fill(workers ...*exec.Cmd) {
	c.t.Helper()
	for _, w := range workers {
		until(c.t, "a worker", func() bool { return strings.Contains(c.logs[w].String(), "the worker is ready") })
	}
	samples := filepath.Join(deps(c.t), "samples")
	photo, err := os.ReadFile(filepath.Join(samples, "obama.jpg"))
	if err != nil {
		c.t.Fatal(err)
	}
	film := filepath.Join(c.dir, "film.mp4")
	out, err := exec.Command("ffmpeg", "-v", "error", "-loop", "1", "-i", filepath.Join(samples, "obama.jpg"),
		"-vf", "scale=400:-2,crop=320:320:'20+4*mod(t,12)':0,boxblur=2", "-t", fmt.Sprint(c.film.Seconds()), "-r", "5", "-g", "10", "-keyint_min", "10", "-sc_threshold", "0",
		"-c:v", "libx264", "-threads", "1", "-pix_fmt", "yuv420p", film).CombinedOutput()
	if err != nil {
		c.t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	for i := range clusterPhotos {
		if err := os.WriteFile(filepath.Join(c.dir, "in", fmt.Sprintf("%d.jpg", i)), numbered(photo, i), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := os.Rename(film, filepath.Join(c.dir, "in", "film.mp4")); err != nil {
		c.t.Fatal(err)
	}
}

// process starts a command of restored's that reaches the database by url.
func (c *clusterSite) process(url string, args ...string) *exec.Cmd {
	c.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	return c.command(url, append([]string{exe}, args...)...)
}

func (c *clusterSite) command(url string, args ...string) *exec.Cmd {
	c.t.Helper()
	cmd := exec.Command(args[0], append(args[1:], "--config", c.config)...)
	cmd.Env = append(os.Environ(), asMain+"=1", "RESTORED_QUEUE_URL="+url,
		"RESTORED_PATHS_LIBRARIES="+filepath.Join(deps(c.t), "onnxruntime"), "RESTORED_PATHS_MODELS="+filepath.Join(deps(c.t), "models"))
	log := &serveLog{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.logs[cmd] = log
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill() // most have ended
		_ = cmd.Wait()
		if c.t.Failed() {
			c.t.Logf("%s:\n%s", args[0], log)
		}
	})
	return cmd
}

func (c *clusterSite) worker(url string) *exec.Cmd {
	return c.process(url, "worker", "--queues", "photo,segment,join")
}

// query reads one value of the database.
func (c *clusterSite) query(into any, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url)
	if err != nil {
		return err
	}
	return errors.Join(conn.QueryRow(ctx, sql).Scan(into), conn.Close(ctx))
}

// reaches waits at most limit until the count that sql asks for is at least n.
// A server that is away has none.
func (c *clusterSite) reaches(limit time.Duration, n int, what, sql string) {
	c.t.Helper()
	within(c.t, limit, what, func() bool {
		var have int
		return c.query(&have, sql) == nil && have >= n
	})
}

// outputs waits until all is done, checks that each was once, and reads it.
func (c *clusterSite) outputs() map[string][]byte {
	c.t.Helper()
	c.reaches(2*time.Minute+5*c.film, clusterPhotos+1, "all files to be done", "SELECT count(*) FROM files WHERE state = 'done'")
	var odd int
	if err := c.query(&odd, "SELECT count(*) FROM files WHERE state <> 'done' OR completed <> 1"); err != nil || odd != 0 {
		c.t.Errorf("%d files weren't done just once: %v", odd, err)
	}
	all := map[string][]byte{}
	entries, err := os.ReadDir(filepath.Join(c.dir, "out"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // what a killed worker has left
		}
		if all[e.Name()], err = os.ReadFile(filepath.Join(c.dir, "out", e.Name())); err != nil {
			c.t.Fatal(err)
		}
	}
	return all
}

// spread is how many steps of segments each worker did.
func (c *clusterSite) spread() (table string) {
	err := c.query(&table, `SELECT string_agg(worker || ': ' || n, '; ' ORDER BY worker) FROM (
		SELECT attempted_by[array_upper(attempted_by, 1)] AS worker, count(*) AS n FROM river_job
		WHERE kind = 'segment' AND state = 'completed' GROUP BY 1) s`)
	if err != nil {
		c.t.Error(err)
	}
	return table
}

// A daemon and three workers, each a process, do ten photos and a film: once
// undisturbed, and once while a worker is killed, the server is stopped hard and
// started again, and a worker is cut off. The results are the same, byte for
// byte, and none is done twice.
func TestCluster(t *testing.T) {
	server := pgtest.Start(t)
	const quick = "{take: none, lease: 4s}"
	calm := newClusterSite(t, server, quick, *clusterFilm)
	calm.process(calm.url, "serve")
	calm.fill(calm.worker(calm.url), calm.worker(calm.url), calm.worker(calm.url))
	want := calm.outputs()
	t.Logf("steps of segments, undisturbed: %s", calm.spread())
	if n := strings.Count(calm.spread(), ";"); n != 2 {
		t.Errorf("the segments went to %d workers", n+1)
	}

	hurt := newClusterSite(t, server, quick, *clusterFilm)
	hurt.process(hurt.url, "serve")
	proxy, cutURL := server.Proxy(t, hurt.url)
	killed, cut := hurt.worker(hurt.url), hurt.worker(cutURL)
	hurt.fill(killed, cut)
	const segments = "SELECT count(*) FROM segments"
	hurt.reaches(3*time.Minute, 2, "two segments", segments)
	if err := errors.Join(killed.Process.Kill(), server.Stop("immediate"), server.Start()); err != nil {
		t.Fatal(err)
	}
	hurt.worker(hurt.url)
	hurt.reaches(3*time.Minute, 4, "four segments", segments)
	proxy.Cut()
	until(t, "the worker to notice that it is cut off", func() bool {
		return strings.Contains(hurt.logs[cut].String(), "the database isn't reached")
	})
	proxy.Heal()
	got := hurt.outputs()
	t.Logf("steps of segments, disturbed: %s", hurt.spread())
	if len(got) != len(want) {
		t.Errorf("%d outputs, undisturbed %d", len(got), len(want))
	}
	for name := range want {
		if !bytes.Equal(got[name], want[name]) {
			t.Errorf("%s has %d bytes, undisturbed %d, or others", name, len(got[name]), len(want[name]))
		}
	}
	stopped := hurt.process(hurt.url, "workers", "--json")
	if err := stopped.Wait(); err != nil {
		t.Errorf("restored workers: %v", err)
	}
}

// BenchmarkCluster says how much faster two workers of one processor each are
// than one, in the queue's own settings, with the order turned in each round:
// go test ./cmd/restored -run - -bench 'Cluster$' -benchtime 1x -timeout 30m
func BenchmarkCluster(b *testing.B) {
	server := pgtest.Start(b)
	took := map[int]float64{}
	for i := range b.N {
		first := 1 + i%2
		for _, n := range []int{first, 3 - first} {
			seconds := clusterTime(b, server, n)
			b.Logf("round %d, workers: %d, seconds: %.1f", i+1, n, seconds)
			took[n] += seconds
		}
	}
	b.ReportMetric(took[1]/float64(b.N), "s/one")
	b.ReportMetric(took[2]/float64(b.N), "s/two")
	b.ReportMetric(took[1]/took[2], "speedup")
}

// clusterTime is how many seconds n workers, each bound to a processor of its
// own, need from the first job's start to the last one's end.
func clusterTime(b *testing.B, server *pgtest.Server, n int) (seconds float64) {
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	c := newClusterSite(b, server, "{take: none}", 96*time.Second)
	processes := []*exec.Cmd{c.process(c.url, "serve")}
	for i := range n {
		processes = append(processes, c.command(c.url, "taskset", "-c", strconv.Itoa(i), exe, "worker", "--queues", "photo,segment,join"))
	}
	c.fill(processes[1:]...)
	within(b, 20*time.Minute, "the film", func() bool { // asks the server nothing while the workers are timed
		_, err := os.Stat(filepath.Join(c.dir, "out", "film.mp4"))
		return err == nil
	})
	c.outputs()
	const done = "SELECT coalesce(extract(epoch FROM max(finalized_at) - min(attempted_at)), 0)::float8 FROM river_job"
	if err := c.query(&seconds, done); err != nil {
		b.Fatal(err)
	}
	for _, p := range processes {
		_ = p.Process.Kill() // the next are alone
		_ = p.Wait()
	}
	return seconds
}
