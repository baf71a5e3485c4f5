// Package pgtest runs a real PostgreSQL, from Debian's package, for tests.
package pgtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Server is a PostgreSQL in a temporary folder. Its user needs no password.
type Server struct {
	dir, bin string
	port     int
	owner    *syscall.Credential // PostgreSQL refuses root; nil = this process's user will do
	names    int
}

// Start makes a database cluster and starts its server, until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{bin: binaries(t)}
	var err error
	// Not t.TempDir, whose parents only this user may enter.
	if s.dir, err = os.MkdirTemp("", "restored-pg-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Stop("immediate"), os.RemoveAll(s.dir)); err != nil {
			t.Error(err)
		}
	})
	if os.Geteuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.ParseUint(nobody.Uid, 10, 32)
		gid, _ := strconv.ParseUint(nobody.Gid, 10, 32)
		s.owner = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.run("initdb", "-D", s.data(), "-U", "restored", "-A", "trust", "-N", "--locale=C", "-E", "UTF8"); err != nil {
		t.Fatal(err)
	}
	if s.port, err = freePort(); err == nil {
		err = s.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// binaries is the folder of Debian's newest PostgreSQL.
func binaries(t testing.TB) string {
	all, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(all) == 0 {
		t.Fatal("PostgreSQL isn't here: setup/setup.sh --postgres installs it")
	}
	slices.Sort(all)
	return filepath.Dir(all[len(all)-1])
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) run(name string, args ...string) error {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.owner}
	// To a file: the server keeps what it is given open.
	file := filepath.Join(s.dir, "out")
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(file)
		return fmt.Errorf("%s: %w\n%s", name, err, said)
	}
	return nil
}

// Start starts the server after Stop.
func (s *Server) Start() error {
	options := fmt.Sprintf("-c listen_addresses=127.0.0.1 -p %d -k %s -c fsync=off", s.port, s.dir)
	return s.run("pg_ctl", "-D", s.data(), "-l", filepath.Join(s.dir, "log"), "-w", "-o", options, "start")
}

// Stop ends the server, in pg_ctl's mode fast or immediate. It may be called again.
func (s *Server) Stop(mode string) error {
	if _, err := os.Stat(filepath.Join(s.data(), "postmaster.pid")); err != nil {
		return nil //nolint:nilerr // it doesn't run
	}
	return s.run("pg_ctl", "-D", s.data(), "-m", mode, "-w", "stop")
}

// Database makes an empty database and gives its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	s.names++
	name := fmt.Sprintf("d%d", s.names)
	if err := s.run("createdb", "-h", s.dir, "-p", strconv.Itoa(s.port), "-U", "restored", name); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("postgres://restored@127.0.0.1:%d/%s", s.port, name)
}

// Proxy is a way to the server that can be cut.
type Proxy struct {
	listener net.Listener
	to       string
	mu       sync.Mutex
	cut      bool
	conns    map[net.Conn]struct{}
	running  sync.WaitGroup
}

// Proxy opens a way to the server, until the test ends, and gives the URL of a
// database by it.
func (s *Server) Proxy(t testing.TB, url string) (*Proxy, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, to: fmt.Sprintf("127.0.0.1:%d", s.port), conns: map[net.Conn]struct{}{}}
	p.running.Go(p.serve)
	t.Cleanup(func() {
		_ = l.Close()
		p.Cut()
		p.running.Wait()
	})
	return p, strings.Replace(url, p.to, l.Addr().String(), 1)
}

func (p *Proxy) serve() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.to)
		if err != nil || !p.keep(in, out) {
			_ = in.Close()
			if out != nil {
				_ = out.Close()
			}
			continue
		}
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			p.running.Go(func() {
				_, _ = io.Copy(pair[0], pair[1]) // until either end closes
				_ = pair[0].Close()
				_ = pair[1].Close()
			})
		}
	}
}

func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return !p.cut
}

// Cut ends all connections, and lets none through.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

// Heal lets connections through again.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
}
