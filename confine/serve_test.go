package confine

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asParent makes the test binary be a parent that has a child and waits.
const asParent = "TEST_CONFINE_PARENT"

// beParent prints the process number of a child that hangs, and hangs.
func beParent() int {
	p, err := Open(neverEnds, quietOptions())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, err = p.Do(neverEnds, Call{Kind: "hang", Args: order{}, Tell: func(json.RawMessage) {
		var hello struct{ PID int }
		if err := json.Unmarshal(p.Hello(), &hello); err != nil {
			panic(err)
		}
		fmt.Println(hello.PID)
	}})
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// When the parent is killed, so is a child that hears nothing any more.
func TestParentKilled(t *testing.T) {
	cmd := exec.Command(Self, "confine-parent")
	cmd.Env = append(os.Environ(), asParent+"=1")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Fatal("the child wasn't there before")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Second)
	for alive(pid) {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("the child %d is alive", pid)
		}
	}
}

// alive tells whether there is a process that is no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, found := bytes.Cut(stat, []byte(") "))
	return err == nil && found && state[0] != 'Z' && state[0] != 'X'
}

// A pipe stands for the parent: it does all that a Pool would.
type rawParent struct {
	cmd   *exec.Cmd
	calls *os.File
	from  *bufio.Reader
	err   bytes.Buffer
}

func startRaw(t *testing.T, l Limits, grace time.Duration) *rawParent {
	t.Helper()
	in, calls, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &rawParent{cmd: exec.Command(Self, "confine-child"), calls: calls, from: bufio.NewReader(answers)}
	p.cmd.Env = append(os.Environ(), asChild+"=serve")
	p.cmd.ExtraFiles = []*os.File{in, out}
	p.cmd.Stderr = &p.err
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	out.Close()
	t.Cleanup(func() { calls.Close(); answers.Close() })
	body, err := json.Marshal(start{Tag: "raw", Limits: l, Grace: grace, Body: json.RawMessage("{}")})
	if err != nil {
		t.Fatal(err)
	}
	p.send(t, message{Type: msgStart, Body: body})
	p.want(t, msgHello)
	return p
}

func (p *rawParent) send(t *testing.T, m message) {
	t.Helper()
	frame, err := encode(m)
	if err == nil {
		_, err = p.calls.Write(frame)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (p *rawParent) want(t *testing.T, kind string) message {
	t.Helper()
	m, err := decode(p.from)
	if err != nil || m.Type != kind {
		t.Fatalf("got %+v, %v; want %s", m, err, kind)
	}
	return m
}

// A child leaves when its pipe closes: in order if it is idle or obeys, and in
// any case soon.
func TestPipeCloses(t *testing.T) {
	for _, c := range []struct {
		kind  string
		grace time.Duration
		code  int
	}{{"", time.Minute, 0}, {"obey", time.Minute, 0}, {"hang", 50 * time.Millisecond, exitOrphan}} {
		t.Run("in "+c.kind, func(t *testing.T) {
			p := startRaw(t, Limits{}, c.grace)
			if c.kind != "" {
				p.send(t, message{Type: msgCall, Call: 1, Kind: c.kind, Body: json.RawMessage("{}")})
				p.want(t, msgTell)
			}
			p.calls.Close()
			if c.kind == "obey" {
				p.want(t, msgEnd)
			}
			_ = p.cmd.Wait()
			if code := p.cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d; %s", code, c.code, &p.err)
			}
		})
	}
}

// Signals that a service manager or a terminal sends to all don't stop a child
// in its work.
func TestSignalsIgnored(t *testing.T) {
	p := startRaw(t, Limits{}, time.Minute)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	p.send(t, message{Type: msgCall, Call: 1, Kind: "echo", Body: json.RawMessage(`{"text":"on"}`)})
	p.want(t, msgEnd)
	p.calls.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// A cancel that is already there when the call is begun isn't lost, and one
// for an earlier call means nothing.
func TestEarlyCancel(t *testing.T) {
	p := startRaw(t, Limits{}, time.Minute)
	p.send(t, message{Type: msgCall, Call: 1, Kind: "echo", Body: json.RawMessage("{}")})
	p.send(t, message{Type: msgCancel, Call: 1})
	p.want(t, msgEnd)
	p.send(t, message{Type: msgCancel, Call: 1})
	p.send(t, message{Type: msgCancel, Call: 2})
	p.send(t, message{Type: msgCall, Call: 2, Kind: "obey", Body: json.RawMessage("{}")})
	p.want(t, msgTell)
	if m := p.want(t, msgEnd); m.Call != 2 || m.Failure == nil {
		t.Errorf("%+v", m)
	}
	p.calls.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	p := startRaw(t, Limits{Memory: 1 << 30, Output: 12345, Files: 321}, time.Minute)
	pid := p.cmd.Process.Pid
	for resource, want := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_FSIZE: 12345, unix.RLIMIT_NOFILE: 321} {
		var have unix.Rlimit
		if err := unix.Prlimit(pid, resource, nil, &have); err != nil || have.Cur != want || have.Max != want {
			t.Errorf("limit %d is %+v, want %d; %v", resource, have, want, err)
		}
	}
	score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	if err != nil || strings.TrimSpace(string(score)) != oomScore {
		t.Errorf("oom_score_adj %s, %v", score, err)
	}
	p.calls.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestServeByHand(t *testing.T) {
	cmd := exec.Command(Self, "confine-child")
	cmd.Env = append(os.Environ(), asChild+"=serve")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(string(out), ErrNoParent.Error()) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestEncodeDecode(t *testing.T) {
	want := message{Type: msgEnd, Call: 7, Failure: &failure{Text: "a\nb", Errno: []int{28}, Known: []string{"foreign"}}, Unfit: true}
	frame, err := encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(bytes.NewReader(frame))
	if err != nil || fmt.Sprint(got.Type, got.Call, *got.Failure, got.Unfit) != fmt.Sprint(want.Type, want.Call, *want.Failure, want.Unfit) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := decode(bytes.NewReader(nil)); !errors.Is(err, io.EOF) {
		t.Errorf("nothing: %v", err)
	}
	for cut := 1; cut < len(frame); cut++ {
		if _, err := decode(bytes.NewReader(frame[:cut])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes of %d: %v", cut, len(frame), err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range []message{
		{Type: msgHello, Body: json.RawMessage(`{"model":"x"}`)},
		{Type: msgEnd, Call: 1, Failure: &failure{Text: "x", Errno: []int{2}}},
		{Type: msgAsk, Call: 1, Ask: 2, Body: json.RawMessage(`null`)},
	} {
		frame, err := encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte("\x00\x00\x00\x02{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		m, err := decode(r)
		if err != nil {
			return
		}
		frame, err := encode(m)
		if err != nil {
			t.Fatalf("%+v was read and can't be written: %v", m, err)
		}
		again, err := decode(bytes.NewReader(frame))
		if err != nil || again.Type != m.Type || again.Call != m.Call || again.Ask != m.Ask {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
		if m.Failure != nil {
			_ = m.Failure.error(common, map[uint64]error{1: io.EOF}).Error()
		}
	})
}

func TestChatter(t *testing.T) {
	const long = 3000
	c := &chatter{log: quietOptions().Log}
	for i := range 100 {
		fmt.Fprintf(c, "line %d %s\n", i, strings.Repeat("x", long))
	}
	fmt.Fprint(c, "terminate called\nSIGABRT: abort\nPC=0x1\n\ngoroutine 1:\nrestored/detect._Cfunc_detect_scan(0x1)\n")
	for range 1000 {
		fmt.Fprintln(c, "more")
	}
	fmt.Fprint(c, "fatal error: not this\n[signal SIGSEGV: nor this\nno newline")
	e := &CrashError{ExitCode: 2}
	c.tell(e)
	if e.Signal != syscall.SIGABRT || e.Function != "detect_scan" || len(e.Output) != linesBefore+linesAfter {
		t.Errorf("%+v", e)
	}
	if text := e.Error(); !strings.Contains(text, "SIGABRT (a crash in a native library, in detect_scan)") ||
		!strings.Contains(text, "/ terminate called") || len(text) > lastWords*(maxLine+10)+200 {
		t.Errorf("%s", text)
	}
	for printed, want := range map[string]string{
		"panic: runtime error: nil\n[signal SIGSEGV: segmentation violation code=1]\n": "exit code 2 and no answer: panic: runtime error: nil",
		"fatal error: unexpected signal\n[signal SIGSEGV: x]\n":                        "killed by SIGSEGV",
		"fatal error: runtime: out of memory\n":                                        "out of memory",
		"bad \xff\x00 bytes":                                                           "no answer; its last words: bad \uFFFD\x00 bytes",
	} {
		c, e := &chatter{log: quietOptions().Log}, &CrashError{ExitCode: 2}
		fmt.Fprint(c, printed)
		c.tell(e)
		if !strings.Contains(e.Error(), want) {
			t.Errorf("%q: %v, want %q", printed, e, want)
		}
	}
}

// BenchmarkDo is what the way to a warm child and back costs.
func BenchmarkDo(b *testing.B) {
	o := quietOptions()
	p := open(b, o)
	for b.Loop() {
		if _, err := p.Do(b.Context(), Call{Kind: "echo", Args: order{Text: filepath.Join("some", "path.jpg")}}); err != nil {
			b.Fatal(err)
		}
	}
}
