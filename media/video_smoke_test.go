package media

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type shot struct {
	pts, dur int64
	sum      [16]byte
}

func sum(p *Picture) [16]byte {
	h := md5.New()
	for i := range p.Planes() {
		w, hh := p.PlaneSize(i)
		for y := range hh {
			h.Write(p.Pix[i][y*p.Stride[i]:][:w*p.Bytes()])
		}
	}
	return [16]byte(h.Sum(nil))
}

func readAll(t testing.TB, v *Video, o ReadOptions) ([]shot, ReadCounts) {
	r, err := OpenReader(t.Context(), v, o)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var s []shot
	for {
		p, err := r.Next(t.Context())
		if err == io.EOF {
			return s, r.Counts()
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
		s = append(s, shot{p.PTS, p.Duration, sum(p)})
		p.Release()
	}
}

func TestSmoke(t *testing.T) {
	files, _ := filepath.Glob(os.Getenv("CLIP"))
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) { smoke(t, f) })
	}
}

func smoke(t *testing.T, f string) {
	v, err := ProbeVideo(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("VERBOSE") != "" {
		b, _ := json.Marshal(v)
		fmt.Println(string(b))
	}
	x, err := IndexVideo(t.Context(), v, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, bwdif := range []bool{false, true} {
		all := ReadOptions{From: NoTime, To: NoTime, Bwdif: bwdif}
		s, c := readAll(t, v, all)
		if x.Frames != int64(len(s)) {
			t.Errorf("index says %d pictures, got %d", x.Frames, len(s))
		}
		if !bwdif {
			end := s[len(s)-1].pts + s[len(s)-1].dur
			keys := x.Keyframes
			if len(keys) > 4 {
				keys = keys[:4]
			}
			t.Logf("%s %s: %d pictures %v, first %d/%d, end %d/%d, keys %d %v var %v trunc %q corrupt %d", v.Format, v.Stream().Codec, len(s), c, s[0].pts, x.First, end, x.End, len(x.Keyframes), keys, x.Variable, x.Truncated, x.Corrupt)
			probe(t, f, s)
		}
		one, _ := readAll(t, v, ReadOptions{From: NoTime, To: NoTime, Bwdif: bwdif, Threads: 1})
		if !slices.Equal(one, s) {
			t.Errorf("one thread differs bwdif %v", bwdif)
		}
		var cuts []int64
		for i := 3; i < len(s); i += 9 {
			cuts = append(cuts, s[i].pts+int64(i%2))
		}
		spans := [][2]int64{{NoTime, cuts[0]}}
		for i, c := range cuts {
			to := NoTime
			if i+1 < len(cuts) {
				to = cuts[i+1]
			}
			spans = append(spans, [2]int64{c, to})
		}
		compare(t, v, s, spans, bwdif)
		compare(t, v, s, x.Segments(v.Stream().TimeBase, time.Second/2, time.Second), bwdif)
	}
}

func compare(t *testing.T, v *Video, s []shot, spans [][2]int64, bwdif bool) {
	var parts []shot
	how := ""
	for _, x := range spans {
		p, _ := readAll(t, v, ReadOptions{From: x[0], To: x[1], Bwdif: bwdif})
		parts = append(parts, p...)
	}
	if slices.Equal(parts, s) {
		return
	}
	n := 0
	for i := range min(len(parts), len(s)) {
		if parts[i] != s[i] && n < 3 {
			n++
			how += fmt.Sprintf("\n%d: %d %d %x, linear %d %d %x", i, parts[i].pts, parts[i].dur, parts[i].sum[:3], s[i].pts, s[i].dur, s[i].sum[:3])
		}
	}
	t.Errorf("bwdif %v: %d spans %v: %d pictures, linear %d%s", bwdif, len(spans), spans[:min(len(spans), 4)], len(parts), len(s), how)
}

func probe(t *testing.T, f string, s []shot) {
	out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "frame=best_effort_timestamp", "-of", "csv=p=0", f).Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for l := range strings.FieldsSeq(string(out)) {
		want = append(want, strings.Trim(l, ",side_data"))
	}
	if len(want) != len(s) {
		t.Errorf("ffprobe: %d frames, got %d", len(want), len(s))
	}
	n := 0
	for i := range min(len(want), len(s)) {
		if want[i] != fmt.Sprint(s[i].pts) && n < 4 {
			n++
			t.Errorf("frame %d: ffprobe %s got %d", i, want[i], s[i].pts)
		}
	}
}
