package media

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"
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
	for _, f := range []string{os.Getenv("CLIP")} {
		v, err := ProbeVideo(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(v)
		fmt.Println(string(b))
		s, c := readAll(t, v, ReadOptions{From: NoTime, To: NoTime})
		fmt.Println(len(s), c)
		for i := 1; i < len(s); i += 1 + len(s)/7 {
			tail, _ := readAll(t, v, ReadOptions{From: s[i].pts, To: NoTime})
			bad := len(tail) != len(s)-i
			for j := range tail {
				if !bad && tail[j] != s[i+j] {
					bad = true
					fmt.Println("first difference", i, j, tail[j], s[i+j])
				}
			}
			fmt.Println("from", i, s[i].pts, "got", len(tail), "bad", bad)
		}
	}
}
