package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func put(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// hugePNG is a PNG header that promises side×side pixels.
func hugePNG(side int) []byte {
	h := []byte("IHDR\x00\x00\x00\x00\x00\x00\x00\x00\x08\x06\x00\x00\x00")
	binary.BigEndian.PutUint32(h[4:], uint32(side))
	binary.BigEndian.PutUint32(h[8:], uint32(side))
	b := append([]byte(pngMagic+"\x00\x00\x00\x0d"), h...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(h))
	b = append(b, pngChunk("IDAT", []byte{0x78, 0x9c, 1, 0, 0, 0xff, 0xff})...)
	return append(b, pngChunk("IEND", nil)...)
}

func TestRefused(t *testing.T) {
	jpg := mustRead(t, makePhoto(t, "jpeg", 200, 150, 3, 8, 1, noise(200*150*3, 1)))
	spoilt := bytes.Clone(jpg)
	copy(spoilt[len(spoilt)/2:], noise(300, 2))
	tiff := mustRead(t, makePhoto(t, "tiff", 20, 10, 3, 8, 1, noise(600, 1)))
	pages := bytes.Clone(tiff)
	tree, err := newTIFF(pages)
	if err != nil {
		t.Fatal(err)
	}
	tree.order.PutUint32(pages[len(pages)-4:], 8) // the next page's offset ends the file
	pngHead, pngRest := hugePNG(4)[:33], hugePNG(4)[33:]
	animated := append(append(bytes.Clone(pngHead), pngChunk("acTL", make([]byte, 8))...), pngRest...)
	webp := mustRead(t, makePhoto(t, "webp", 20, 10, 3, 8, 1, noise(600, 1)))
	moving := bytes.Clone(webp)
	moving[20] |= webpAnimation
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"text.jpg":        {[]byte("hello, I'm a text"), ErrNotPhoto},
		"empty.png":       {nil, ErrNotPhoto},
		"film.heic":       {[]byte("\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2mp41"), ErrNotPhoto},
		"moving.avif":     {[]byte("\x00\x00\x00\x18ftypavis\x00\x00\x02\x00avismsf1avif"), ErrUnsupported},
		"a.gif":           {[]byte("GIF89a\x01\x00\x01\x00"), ErrUnsupported},
		"bomb.png":        {hugePNG(60000), ErrTooLarge},
		"animated.png":    {animated, ErrUnsupported},
		"animated.webp":   {moving, ErrUnsupported},
		"pages.tif":       {pages, ErrUnsupported},
		"half.jpg":        {jpg[:len(jpg)/2], ErrDamaged},
		"last.jpg":        {jpg[:len(jpg)-400], ErrDamaged},
		"spoilt.jpg":      {spoilt, ErrDamaged},
		"half.tif":        {tiff[:len(tiff)/2], ErrDamaged},
		"half.webp":       {webp[:len(webp)/2], ErrDamaged},
		"header only.jpg": {jpg[:30], ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			path := put(t, name, c.b)
			p, err := OpenPhoto(t.Context(), path, Options{})
			if !errors.Is(err, c.want) || p != nil || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %v with the file's name", err, c.want)
			}
		})
	}
	for _, format := range []string{"png", "bmp"} {
		b := mustRead(t, makePhoto(t, "png", 60, 60, 3, 8, 1, noise(10800, 1)))
		if format == "bmp" {
			b = append(make([]byte, 54), noise(900, 1)...)
			copy(b, "BM")
			b[10], b[14], b[18], b[22], b[28] = 54, 40, 60, 60, 24
		}
		if _, err := OpenPhoto(t.Context(), put(t, "half."+format, b[:len(b)*2/3]), Options{}); !errors.Is(err, ErrDamaged) {
			t.Errorf("half a %s: %v", format, err)
		}
	}
}

func TestRefusedByOptions(t *testing.T) {
	path := put(t, "a.jpg", mustRead(t, stdJPEG(t, 80)))
	if _, err := OpenPhoto(t.Context(), path, Options{MaxPixels: 90*70 - 1}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one pixel too many: %v", err)
	}
	if _, err := OpenPhoto(t.Context(), path, Options{MaxPixels: 90 * 70}); err != nil {
		t.Error(err)
	}
	if _, err := OpenPhoto(t.Context(), path, Options{MaxPixels: MaxPixelsLimit + 1}); err == nil {
		t.Error("limit over the limit accepted")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := OpenPhoto(ctx, path, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	p := mustOpen(t, path)
	dir := t.TempDir()
	if _, err := p.Save(ctx, dir+"/b.jpg", p.Image, SaveOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := p.Save(t.Context(), dir+"/b.jpg", image.NewGray(p.Image.Bounds()), SaveOptions{}); err == nil {
		t.Error("another type of image accepted")
	}
	if _, err := p.Save(t.Context(), dir+"/b.jpg", image.NewNRGBA(image.Rect(0, 0, 90, 71)), SaveOptions{}); err == nil {
		t.Error("another size accepted")
	}
	if l, err := os.ReadDir(dir); err != nil || len(l) > 0 {
		t.Errorf("left behind: %v %v", l, err)
	}
}

// A long encode stops soon after its context ends, and leaves nothing.
func TestCancelWhileSaving(t *testing.T) {
	const side = 3000
	p := mustOpen(t, makePhoto(t, "png", side, side, 3, 8, 1, noise(side*side*3, 1)))
	start := time.Now()
	full := mustSave(t, p, SaveOptions{})
	whole := time.Since(start)
	noTemps(t, filepath.Dir(full))
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), whole/10)
	defer cancel()
	start = time.Now()
	_, err := p.Save(ctx, dir+"/b.png", p.Image, SaveOptions{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("after %v of %v: %v", time.Since(start), whole, err)
	}
	if l, err := os.ReadDir(dir); err != nil || len(l) > 0 {
		t.Errorf("left behind: %v %v", l, err)
	}
}

func TestNotRegular(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/x.jpg", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(dir+"/pipe.jpg", 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x.jpg", "pipe.jpg"} {
		if _, err := OpenPhoto(t.Context(), filepath.Join(dir, name), Options{}); !errors.Is(err, ErrNotPhoto) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenPhoto(t.Context(), dir+"/none.jpg", Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if os.Geteuid() != 0 { // root may read all
		path := put(t, "secret.jpg", mustRead(t, stdJPEG(t, 80)))
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenPhoto(t.Context(), path, Options{}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("unreadable: %v", err)
		}
	}
}

func TestSaveIsSafe(t *testing.T) {
	src := stdJPEG(t, 80)
	when := time.Date(1999, 5, 4, 3, 2, 1, 0, time.UTC)
	if err := errors.Join(os.Chmod(src, 0o604), os.Chtimes(src, when, when)); err != nil {
		t.Fatal(err)
	}
	before := mustRead(t, src)
	p := mustOpen(t, src)
	dir := t.TempDir()
	dst := dir + "/deep/er/a.jpg"
	i, err := p.Save(t.Context(), dst, p.Image, SaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(dst)
	if err != nil || i.Path != dst || st.Size() != i.Bytes || st.Mode() != 0o604 || !st.ModTime().Equal(when) {
		t.Errorf("%+v, %v %v", i, st, err)
	}
	if _, err := p.Save(t.Context(), dst, p.Image, SaveOptions{}); !errors.Is(err, ErrExists) {
		t.Errorf("existing: %v", err)
	}
	if _, err := p.Save(t.Context(), dst, p.Image, SaveOptions{Overwrite: true}); err != nil {
		t.Errorf("overwriting: %v", err)
	}
	for _, o := range []SaveOptions{{}, {Overwrite: true}} {
		if _, err := p.Save(t.Context(), src, p.Image, o); !errors.Is(err, ErrExists) {
			t.Errorf("onto the original: %v", err)
		}
	}
	if !bytes.Equal(mustRead(t, src), before) {
		t.Error("the original changed")
	}
	if err := CopyFile(t.Context(), src, dir+"/copy/c.jpg", false); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(dir + "/copy/c.jpg"); err != nil || !st.ModTime().Equal(when) || st.Mode() != 0o604 {
		t.Errorf("copy: %v %v", st, err)
	}
	if !bytes.Equal(mustRead(t, dir+"/copy/c.jpg"), before) {
		t.Error("the copy differs")
	}
	if err := CopyFile(t.Context(), src, dir+"/copy/c.jpg", false); !errors.Is(err, ErrExists) {
		t.Errorf("copy onto existing: %v", err)
	}
	noTemps(t, dir)
}

// Only one of many writers of one path wins, and rename itself decides.
func TestRenameDecides(t *testing.T) {
	src := stdJPEG(t, 80)
	st, err := os.Stat(src)
	if err != nil {
		t.Fatal(err)
	}
	dst := t.TempDir() + "/a.jpg"
	_, err = writeAtomic(dst, st, false, func(w io.Writer) error {
		return os.WriteFile(dst, []byte("came first"), 0o644)
	})
	if !errors.Is(err, ErrExists) || string(mustRead(t, dst)) != "came first" {
		t.Errorf("%v", err)
	}
	noTemps(t, filepath.Dir(dst))
}

func TestDiskFull(t *testing.T) {
	st, err := os.Stat(stdJPEG(t, 80))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_, err = writeAtomic(dir+"/a.jpg", st, false, func(w io.Writer) error {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer full.Close()
		_, err = full.Write([]byte("x"))
		return err
	})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "no space left in "+dir) {
		t.Errorf("%v", err)
	}
	if l, err := os.ReadDir(dir); err != nil || len(l) > 0 {
		t.Errorf("left behind: %v %v", l, err)
	}
}

// Failures of many at once are told apart, and good files aren't hurt by them.
func TestConcurrent(t *testing.T) {
	good := makePhoto(t, "jpeg", 120, 90, 3, 8, 6, smooth(120, 90, 3))
	b := mustRead(t, makePhoto(t, "png", 60, 60, 3, 8, 1, noise(10800, 1)))
	b[len(b)/2] ^= 1
	badPNG := put(t, "bad.png", b)
	j := mustRead(t, good)
	badJPEG := put(t, "bad.jpg", j[:len(j)-100])
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				if _, err := OpenPhoto(context.Background(), good, Options{}); err != nil {
					t.Error(err)
				}
				_, err := OpenPhoto(context.Background(), badPNG, Options{})
				if s := fmt.Sprint(err); !strings.Contains(s, "png") || strings.Contains(s, "JPEG") {
					t.Error(s)
				}
				_, err = OpenPhoto(context.Background(), badJPEG, Options{})
				if s := fmt.Sprint(err); !strings.Contains(s, "Jpeg") || strings.Contains(s, "vipspng") {
					t.Error(s)
				}
			}
		})
	}
	wg.Wait()
}

// Opening, saving and failing leak neither native memory nor descriptors.
func TestNoLeaks(t *testing.T) {
	const w, h = 500, 400
	dir := t.TempDir()
	var files []string
	for _, f := range []string{"jpeg", "png", "tiff", "webp"} {
		files = append(files, makePhoto(t, f, w, h, 3, 8, 6, smooth(w, h, 3)))
	}
	b := mustRead(t, files[0])
	bad := put(t, "bad.jpg", b[:len(b)/2])
	once := func() {
		for i, f := range files {
			p := mustOpen(t, f)
			if i == 3 { // lossless WebP is slow, and saved elsewhere
				continue
			}
			if _, err := p.Save(t.Context(), filepath.Join(dir, filepath.Base(f)), p.Image, SaveOptions{Overwrite: true, Provenance: true}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := OpenPhoto(t.Context(), bad, Options{}); err == nil {
			t.Fatal("opened")
		}
	}
	for range 10 {
		once()
	}
	before, fds := rss(t), countFDs(t)
	for range 50 { // 200 opened, 150 saved, 50 failed
		once()
	}
	if after := rss(t); after > before+24 {
		t.Errorf("resident memory rose from %d to %d MiB", before, after)
	}
	if n := countFDs(t); n > fds {
		t.Errorf("descriptors rose from %d to %d", fds, n)
	}
	released(t, 0)
}

// released waits until libvips holds as much memory as before: its threads give
// back what was theirs a little later than they give the result.
func released(t *testing.T, before int64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); tracked() != before; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("libvips holds %d bytes, before %d", tracked(), before)
		}
	}
}

// rss is the resident memory in MiB after Go gave back what it can.
func rss(t *testing.T) int {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	var size, pages int
	if _, err := fmt.Sscan(string(mustRead(t, "/proc/self/statm")), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 20
}

func countFDs(t *testing.T) int {
	t.Helper()
	l, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(l)
}

// Entries that all point to the same bytes don't multiply them.
func TestTIFFBomb(t *testing.T) {
	const n, size = 60000, 1 << 20
	b := binary.LittleEndian.AppendUint16([]byte("II*\x00\x08\x00\x00\x00"), n)
	for range n {
		b = append(b, "\xe7\xfd\x07\x00\x00\x00\x10\x00\x00\x00\x00\x00"...)
	}
	b = append(b, make([]byte, size)...)
	if _, err := OpenPhoto(t.Context(), put(t, "bomb.tif", b), Options{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
}

// RemoveTemps takes the temporaries of one tag and nothing else.
func TestRemoveTemps(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".restored-c1-5.tmp", ".restored-c12-5.tmp", ".restored-7.tmp", ".restored-c1-5", "c1-5.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".restored-c1-6.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := RemoveTemps(dir, "c1"); err != nil {
		t.Fatal(err)
	}
	if err := RemoveTemps(filepath.Join(dir, "none"), "c1"); err != nil {
		t.Errorf("a folder that isn't there: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 5 {
		t.Errorf("left: %v, %v", left, err)
	}
}
