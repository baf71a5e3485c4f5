package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"restored/config"
)

func newDoctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what works here, and what to do about what doesn't",
		Long: `Looks at everything that restored needs here and tells for each finding what to do:
the configuration, libraries, execution providers (each is really run), models (the
configured one restores a known face), video encoders (each is really opened), the
watched folders and their filesystems, inotify's limits, the state folder, disk space,
permissions, and systemd. Nothing is changed; in the folders that are written a temporary file
is made and removed.

Permissions are those of the user who runs it: as the daemon's user, it is
"sudo -u restored restored doctor --config /etc/restored/restored.yaml".

Exit codes: 0 nothing fails (there may be warnings), 1 something fails.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &doctor{w: cmd.OutOrStdout(), quiet: asJSON}
			d.examine(cmd)
			if asJSON {
				if err := d.json(); err != nil {
					return err
				}
			} else {
				d.summary()
			}
			if d.count(stateFail) > 0 {
				return reported(errReported, exitFailed)
			}
			return cmd.Context().Err()
		},
	}
	addSettings(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object {good, findings} at the end")
	return cmd
}

// The states of a finding.
const (
	stateOK   = "ok"
	stateNote = "note" // worth to know, nothing to do
	stateWarn = "warn" // works, but not as well as it could
	stateFail = "fail"
)

// A finding is what was found about one thing.
type finding struct {
	Check  string `json:"check"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	Advice string `json:"advice,omitempty"`
}

// A doctor collects findings and prints them as they come.
type doctor struct {
	w        io.Writer
	quiet    bool
	findings []finding
}

// examine runs every check. What fails doesn't keep the others from running.
func (d *doctor) examine(cmd *cobra.Command) {
	cfg := d.configuration(cmd)
	ctx := cmd.Context()
	for _, check := range []func(context.Context, *config.Config){
		d.user, d.native, d.videos, d.state, d.folders, d.inotify, d.space, d.notify, d.service,
	} {
		if ctx.Err() != nil {
			return
		}
		check(ctx, cfg)
	}
}

func (d *doctor) add(check, state, advice, format string, args ...any) {
	f := finding{check, state, printable(fmt.Sprintf(format, args...)), printable(advice)}
	d.findings = append(d.findings, f)
	if d.quiet {
		return
	}
	paint := painter(d.w)
	mark := map[string]string{stateOK: paint(green, "ok  "), stateNote: "note", stateWarn: paint(yellow, "warn"), stateFail: paint(red, "FAIL")}[state]
	fmt.Fprintf(d.w, "%s  %s: %s\n", mark, paint(bold, check), f.Detail)
	if f.Advice != "" {
		fmt.Fprintf(d.w, "      → %s\n", f.Advice)
	}
}

func (d *doctor) count(state string) int {
	n := 0
	for _, f := range d.findings {
		if f.State == state {
			n++
		}
	}
	return n
}

func (d *doctor) json() error {
	e := json.NewEncoder(d.w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Good     bool      `json:"good"`
		Findings []finding `json:"findings"`
	}{d.count(stateFail) == 0, d.findings})
}

func (d *doctor) summary() {
	var failing []string
	for _, f := range d.findings {
		if f.State == stateFail {
			failing = append(failing, f.Check)
		}
	}
	if len(failing) > 0 {
		fmt.Fprintf(d.w, "\n%d of %d checks fail: %s\n", len(failing), len(d.findings), strings.Join(failing, ", "))
		return
	}
	fmt.Fprintf(d.w, "\nAll works: %d checks, %d warnings\n", len(d.findings), d.count(stateWarn))
}

// configuration loads what the daemon would; where that fails the other checks
// look at the defaults.
func (d *doctor) configuration(cmd *cobra.Command) *config.Config {
	file := cmd.Flags().Lookup("config").Value.String()
	cfg, origins, err := loadOrigins(cmd)
	if err != nil {
		for _, p := range config.Problems(err) {
			d.add("configuration", stateFail, "correct it; `restored config check` tells when it is right. The checks below look at the defaults", "%v", p)
		}
		c := config.Default()
		return &c
	}
	what := "the defaults"
	if file != "" {
		what = file
	}
	d.add("configuration", stateOK, "", "%s, %d keys are set (`restored config show`)", what, len(notDefault(cfg.Settings(origins))))
	return cfg
}
