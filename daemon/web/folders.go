package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// healthTime is how long a folder may take to answer: a share whose server has
// gone never does.
const healthTime = 2 * time.Second

// Folder is a watched folder and that of its results, both absolute.
type Folder struct{ In, Out string }

// FolderInfo is a watched folder as the page shows it.
type FolderInfo struct {
	ID       string `json:"id"` // names it for uploads
	In       string `json:"in"`
	Out      string `json:"out"`
	Problem  string `json:"problem,omitempty"` // what is wrong with it; "" = nothing
	Writable bool   `json:"writable"`          // uploads can be written
	Free     int64  `json:"free"`              // bytes on the disk of the results
}

// folderID is a name without a path in it, the same after a restart.
func folderID(in string) string {
	sum := sha256.Sum256([]byte(in))
	return hex.EncodeToString(sum[:8])
}

func (s *Server) folder(id string) (in string, ok bool) {
	for _, f := range s.opt.Folders() {
		if folderID(f.In) == id {
			return f.In, true
		}
	}
	return "", false
}

// health asks the folders, each once at a time: one that doesn't answer costs
// one goroutine, which ends when it does.
type health struct {
	mu    sync.Mutex
	asked map[string]*answer
}

// answer is a folder's; info may be read when done is closed.
type answer struct {
	done chan struct{}
	info FolderInfo
}

func (s *Server) folders(ctx context.Context) []FolderInfo {
	all := s.opt.Folders()
	answers := make([]*answer, len(all))
	for i, f := range all {
		answers[i] = s.ask(f)
	}
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	infos := make([]FolderInfo, len(all))
	for i, f := range all {
		select {
		case <-answers[i].done:
			infos[i] = answers[i].info
		case <-ctx.Done():
			infos[i] = FolderInfo{Problem: fmt.Sprintf("doesn't answer within %s", healthTime)}
		}
		infos[i].ID, infos[i].In, infos[i].Out = folderID(f.In), f.In, f.Out
	}
	return infos
}

func (s *Server) ask(f Folder) *answer {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	if a := s.health.asked[f.In]; a != nil {
		return a
	}
	a := &answer{done: make(chan struct{})}
	s.health.asked[f.In] = a
	go func() {
		a.info = s.inspect(f)
		s.health.mu.Lock()
		delete(s.health.asked, f.In)
		s.health.mu.Unlock()
		close(a.done)
	}()
	return a
}

func (s *Server) inspect(f Folder) (info FolderInfo) {
	dir, err := os.Open(f.In)
	if err == nil {
		_, err = dir.Stat()
		dir.Close()
	}
	if err == nil {
		info.Writable = unix.Access(f.In, unix.W_OK|unix.X_OK) == nil
		info.Free, err = s.opt.Free(f.Out)
	}
	if err == nil {
		if err = unix.Access(f.Out, unix.W_OK|unix.X_OK); err != nil {
			err = fmt.Errorf("results can't be written to %s: %w", f.Out, err)
		}
	}
	if err != nil {
		info.Problem = err.Error()
	}
	return info
}
