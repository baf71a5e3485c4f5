package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restored/config"
	"restored/fetch"
	"restored/media"
	"restored/restore"
)

func newModelsPull() *cobra.Command {
	var p puller
	cmd := &cobra.Command{
		Use:   "pull NAME",
		Short: "Fetch a known model",
		Long: `Fetches a model that restored knows by name into the folder of models. A download that
was interrupted goes on where it stopped. The file appears only complete and with the
right checksum. Where the licence asks for something it is shown, and must be accepted:
by --accept-licence, or by y on a terminal.

Only HTTPS is used, through the proxy that HTTPS_PROXY names, if any. The published
checksums are those of the registry ("restored models info NAME").`,
		Example:           "  restored models pull restoreformer++\n  restored models pull --accept-licence codeformer",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeModels,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			p.stdin, p.stdout, p.stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			return p.run(cmd.Context(), cfg, args[0])
		},
	}
	addSettings(cmd)
	cmd.Flags().BoolVar(&p.accept, "accept-licence", false, "accept the licence that is shown")
	cmd.Flags().StringVar(&p.url, "url", "", "fetch from this `address` instead of the registry's (a mirror)")
	cmd.Flags().StringVar(&p.sha256, "sha256", "", "expect this `checksum` instead of the registry's")
	cmd.Flags().BoolVar(&p.force, "force", false, "replace a file that is there and isn't the registry's")
	cmd.Flags().BoolVar(&p.json, "json", false, "print a JSON object at the end")
	return cmd
}

// A puller is one `restored models pull`.
type puller struct {
	accept, force, json bool
	url, sha256         string
	stdin               io.Reader
	stdout, stderr      io.Writer
}

// A pulled says what a pull did.
type pulled struct {
	Name    string `json:"name"`
	Path    string `json:"path"`
	SHA256  string `json:"sha256"`
	Bytes   int64  `json:"bytes"`
	Resumed int64  `json:"resumed,omitempty"`
	URL     string `json:"url,omitempty"`
	Was     bool   `json:"was_here"`
}

func (p *puller) run(ctx context.Context, cfg *config.Config, name string) error {
	e, ok := restore.Known(name)
	if !ok {
		return usageErr("no model %q is known; `restored models list` shows those that are, and `restored models add FILE.onnx` takes any other file", name)
	}
	if e.BuiltIn {
		_, err := fmt.Fprintf(p.stdout, "%s is part of the binary: nothing to fetch\n", e.Name)
		return err
	}
	if p.url != "" {
		e.URLs = []string{p.url}
	}
	if p.sha256 != "" {
		if len(p.sha256) != 64 {
			return usageErr("--sha256 %s: want 64 hexadecimal digits", p.sha256)
		}
		e.SHA256, e.Bytes = strings.ToLower(p.sha256), 0
	}
	folder, err := modelsFolder(cfg)
	if err != nil {
		return setupErr(err)
	}
	if err := p.agree(e); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return setupErr(notOurs(err))
	}
	out := pulled{Name: e.Name, Path: filepath.Join(folder, e.Name+".onnx")}
	if out.Was, err = p.there(out.Path, e.SHA256); err != nil {
		return err
	}
	if out.Was {
		out.SHA256 = e.SHA256
	} else if err := p.fetch(ctx, e, &out); err != nil {
		return err
	}
	if err := writeSidecar(out.Path, acceptedSidecar(e, out.SHA256, out.URL)); err != nil {
		return setupErr(notOurs(err))
	}
	return p.tell(out)
}

func (p *puller) tell(out pulled) error {
	if p.json {
		return json.NewEncoder(p.stdout).Encode(out)
	}
	what := "fetched and matched"
	if out.Was {
		what = "was here already and matches"
	}
	_, err := fmt.Fprintf(p.stdout, "%s %s: %s, sha256 %s\nTry it: `restored models verify %s`; use it: restore.model: %s\n",
		out.Name, what, out.Path, out.SHA256, out.Name, out.Name)
	return err
}

// agree shows the licence and asks for what it takes.
func (p *puller) agree(e restore.Entry) error {
	fmt.Fprintf(p.stderr, "%s: %s\nLicence: %s, %s\n", e.Name, e.Title, e.Licence, e.LicenceURL)
	if e.Terms == "" {
		return nil
	}
	fmt.Fprintf(p.stderr, "%s\n", e.Terms)
	return acceptTerms(p.accept, p.stdin, p.stderr)
}

// acceptTerms returns nil where the licence that was shown is accepted: by the
// flag, or by y on a terminal.
func acceptTerms(flag bool, stdin io.Reader, stderr io.Writer) error {
	if flag {
		return nil
	}
	refused := usageErr("the licence wasn't accepted; read it, and say --accept-licence if you do accept it")
	if f, ok := stdin.(*os.File); !ok || !isTerminal(f) {
		return refused
	}
	fmt.Fprint(stderr, "Do you accept it? [y/N] ")
	answer, err := bufio.NewReader(io.LimitReader(stdin, 100)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return refused
	}
	return nil
}

// there says whether the right file lies there already. Another one is an error,
// unless it may be replaced.
func (p *puller) there(path, want string) (bool, error) {
	got, err := hashFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if got == want {
		return true, nil
	}
	if !p.force {
		return false, usageErr("%s is there, and its sha256 is %s, not %s: --force replaces it", path, got, want)
	}
	return false, nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (p *puller) fetch(ctx context.Context, e restore.Entry, out *pulled) error {
	bar := newByteBar(p.stderr, e.Name)
	got, err := fetch.File(ctx, fetch.Request{
		URLs: e.URLs, Path: out.Path, SHA256: e.SHA256, Bytes: e.Bytes,
		Progress: bar.set, Note: bar.println,
	})
	bar.close()
	switch {
	case err == nil:
		out.SHA256, out.Bytes, out.Resumed, out.URL = got.SHA256, got.Bytes, got.Resumed, got.URL
		return nil
	case ctx.Err() != nil:
		fmt.Fprintf(p.stderr, "restored: stopped; the same command goes on\n")
		return &codedError{exitInterrupted, errReported}
	case errors.Is(err, fetch.ErrChecksum) && !e.Verified:
		return fmt.Errorf("%w; the registry's checksum is unverified: if you trust the source, name the file's own by --sha256", err)
	}
	return notOurs(err)
}

// notOurs says what helps where the folder of models belongs to somebody else.
func notOurs(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: run it as the owner of the folder of models (sudo), or name another folder in paths.models", err)
	}
	return err
}

// acceptedSidecar is the sidecar of a known file whose licence was accepted now.
func acceptedSidecar(e restore.Entry, sha, url string) restore.Sidecar {
	if url == "" {
		url = e.URLs[0]
	}
	s := restore.Sidecar{
		Spec:  restore.Spec{Family: e.Family, Name: e.Name, SHA256: sha, Licence: e.Licence, URL: url},
		Terms: e.Terms,
	}
	if e.Terms != "" {
		s.Accepted = time.Now().UTC().Truncate(time.Second)
	}
	return s
}

func writeSidecar(model string, s restore.Sidecar) error {
	return media.WriteFile(restore.SidecarPath(model), nil, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(s)
	})
}
