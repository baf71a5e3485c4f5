package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"restored/config"
	"restored/detect"
	"restored/restore"
)

func newModelsVerify() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [NAME]",
		Short: "Let a model restore a known face and look at the result",
		Long: `Loads a model, lets it restore a known face (NASA's portrait of Eileen Collins, part of
the binary, shrunk to a quarter and back) and checks that the result is that face: not one colour, the contrast and the
colours kept, near the input, and the same person for dlib. Exports in float16, wrong
ranges and swapped colours are found so. NAME is as in "restored models info"; without
it the configured model is meant.

Exit codes: 0 the model is good, 1 it isn't, 3 it can't be loaded.`,
		Example:           "  restored models verify codeformer\n  restored models verify --provider cuda",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeModels,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			cfg.Restore.Model = modelArg(cfg, args)
			c, err := verifyModel(cmd, cfg)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(c)
			} else {
				err = c.print(cmd.OutOrStdout())
			}
			if err == nil && !c.Good {
				err = reported(errReported, exitFailed)
			}
			return err
		},
	}
	addSettings(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

func verifyModel(cmd *cobra.Command, cfg *config.Config) (c faceCheck, err error) {
	session, a, err := openSession(cfg, newLogger(cmd.ErrOrStderr(), slog.LevelWarn))
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, session.Close(), restore.Shutdown()) }()
	r, err := detect.NewRecognizer(a.models)
	if err != nil {
		return c, setupErr(err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return checkFace(cmd.Context(), session, r)
}

func (c faceCheck) print(w io.Writer) error {
	paint := painter(w)
	verdict := paint(green, "good")
	if !c.Good {
		verdict = paint(red, "not good")
	}
	identity := "no face"
	if c.Identity != nil {
		identity = fmt.Sprintf("%.3f", *c.Identity)
	}
	fmt.Fprintf(w, "%s on %s: %s\n", printable(c.Model), c.Provider, verdict)
	for _, row := range [][3]string{
		{"PSNR from the input", fmt.Sprintf("%.1f dB", c.PSNR), fmt.Sprintf("at least %.0f", leastPSNR)},
		{"nearer to the truth", fmt.Sprintf("%+.2f dB", c.Gain), ""},
		{"contrast kept", fmt.Sprintf("%.3f", c.Contrast), fmt.Sprintf("%.1f to %.1f", leastContrast, mostContrast)},
		{"colours moved by", fmt.Sprintf("%.4f", c.Shift), fmt.Sprintf("at most %.2f", mostShift)},
		{"identity distance", identity, fmt.Sprintf("at most %.1f", mostDistance)},
		{"time of a face", fmt.Sprintf("%.0f ms", c.Millis), ""},
	} {
		fmt.Fprintf(w, "  %-20s %10s   %s\n", row[0], row[1], row[2])
	}
	var err error
	for _, p := range c.Problems {
		_, err = fmt.Fprintf(w, "  %s %s\n", paint(red, "✗"), p)
	}
	return err
}
