package media

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func FuzzBoxes(f *testing.F) {
	f.Add(slice(box("ftyp", make([]byte, 8)), box("uuid", []byte(xmpUUID+"<x/>"))))
	f.Add(box("moov", box("udta", box("XMP_", []byte("<x/>")))))
	f.Add(box("moov", box("udta", box("meta", slice(make([]byte, 4), box("ilst", freeTag("a", "b")))))))
	f.Add([]byte("\x00\x00\x00\x01uuid\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		if x, err := readXMP(r, int64(len(b))); err != nil || len(x) > len(b) {
			t.Error(len(x), err)
		}
		from, to, ok := findBoxes(r, int64(len(b)), "moov", "udta", "meta", "ilst")
		if ok && (from > to || to > int64(len(b))) {
			t.Error(from, to)
		}
	})
}

func slice(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// Other programs find the provenance, and the tags that were there.
func TestTagsOfMP4(t *testing.T) {
	v := clip(t, "a.mp4", "-f lavfi -i testsrc2=s=96x64:r=25:d=0.4 -c:v libx264 -pix_fmt yuv420p -metadata title=Film -metadata keywords=a,b -metadata synopsis=Long")
	// XMP of its own, as cameras and editors write it.
	f, err := os.OpenFile(v.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := putXMP(f, []byte(testXMP)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	r := rewrite(t, v.Path, 5, EncodeOptions{})
	want(t, r.out, "-show_entries format_tags", "TAG:title=Film", "TAG:keywords=a,b", "TAG:synopsis=Long", "TAG:DigitalSourceType="+DigitalSource)
	b, err := os.ReadFile(r.out)
	if err != nil {
		t.Fatal(err)
	}
	x, err := readXMP(bytes.NewReader(b), int64(len(b)))
	if s, bad := scanXMP(x); err != nil || bad != nil || s.value != DigitalSource || !strings.Contains(string(x), `dc:rights="mine &amp; yours"`) {
		t.Errorf("XMP %s: %v, %v", x, err, bad)
	}
	if _, err := exec.LookPath("exiftool"); err == nil {
		out, err := exec.CommandContext(t.Context(), "exiftool", "-G", "-s", r.out).CombinedOutput()
		if err != nil || !strings.Contains(string(out), DigitalSource) || !strings.Contains(string(out), "mine & yours") {
			t.Errorf("exiftool: %v\n%s", err, out)
		}
	}
}
