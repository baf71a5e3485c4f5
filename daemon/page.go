package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"

	"restored/daemon/web"
)

// servePage serves the page, if there is to be one, until stop is called, which
// may be done again.
func (d *Daemon) servePage(ctx context.Context, c *Control, roots []root, m *metrics) (stop func(), err error) {
	if d.cfg.HTTP.Listen == "" {
		return func() {}, nil
	}
	p := pageFiles{c, roots, d.takes, room{d.reserve, d.free}}
	for _, r := range roots {
		if err := sweepOf(r.in, uploadPrefix); err != nil {
			d.deps.Log.WarnContext(ctx, "interrupted uploads not removed", "file", r.in, "error", err)
		}
	}
	ctx, end := context.WithCancel(context.WithoutCancel(ctx)) // it is served also while the daemon stops
	river, err := c.queue.riverPage(ctx, web.QueuePrefix, d.deps.Log)
	if err != nil {
		end()
		return nil, err
	}
	page, err := web.Serve(ctx, web.Options{
		Listen: d.cfg.HTTP.Listen, Token: d.cfg.HTTP.Token, Hosts: d.cfg.HTTP.Names(), Upload: int64(d.cfg.HTTP.Upload),
		Metrics: m.registry, Queue: river, API: c.Handler(), Paths: p.paths, Shot: p.shot, Preview: d.deps.Preview, Previews: filepath.Join(c.queue.ledger.dir, previewsName), Folders: p.folders, Takes: p.takes,
		Free: p.free, Store: p.room.store, About: d.deps.About, Log: d.deps.Log,
	})
	if err != nil {
		end()
		return nil, err
	}
	d.deps.Log.InfoContext(ctx, "the page is served", "address", "http://"+page.Addr())
	return func() { page.Close(); end() }, nil
}

// previewsName is the folder in the state folder that holds small pictures.
const previewsName = "previews"

// pageFiles are the files that the page shows.
type pageFiles struct {
	control *Control
	roots   []root
	wanted  func(name string) bool
	room    room
}

func (p pageFiles) paths(ctx context.Context, id int64) (in, out string, err error) {
	info, err := p.control.Show(ctx, id)
	if errors.Is(err, ErrUnknown) {
		err = fs.ErrNotExist
	}
	if info.State != Done {
		info.Out = "" // that of an earlier version, or nothing yet
	}
	return info.Path, info.Out, err
}

// shot finds the time of a moment that the report on a video names: those of
// all tracks, one behind the other.
func (p pageFiles) shot(ctx context.Context, id int64, n int) (float64, error) {
	info, err := p.control.Show(ctx, id)
	if errors.Is(err, ErrUnknown) {
		err = fs.ErrNotExist
	}
	if err != nil || info.State != Done {
		return 0, cmp.Or(err, fs.ErrNotExist)
	}
	var report struct {
		Video struct {
			Tracks []struct {
				Shots []struct{ At float64 }
			}
		}
	}
	if err := json.Unmarshal(info.Report, &report); err != nil {
		return 0, fs.ErrNotExist
	}
	for _, track := range report.Video.Tracks {
		if n < len(track.Shots) {
			return track.Shots[n].At, nil
		}
		n -= len(track.Shots)
	}
	return 0, fs.ErrNotExist
}

func (p pageFiles) folders() []web.Folder {
	all := make([]web.Folder, len(p.roots))
	for i, r := range p.roots {
		all[i] = web.Folder{In: filepath.Clean(r.in), Out: filepath.Clean(r.out)}
	}
	return all
}

func (p pageFiles) takes(in, name string) bool {
	r, ok := rootOf(p.roots, filepath.Join(in, name))
	return ok && !ignored(name) && p.wanted(name) && r.takes(name)
}

func (p pageFiles) free(dir string) (int64, error) {
	s, err := p.room.free(dir)
	return s.free, err
}
