package options

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// logOutput opens what is logged to.
func logOutput(names []string, stdout, stderr *os.File) (io.Writer, func() error, error) {
	var writers []io.Writer
	var files []*os.File
	closeAll := func() error {
		var errs []error
		for _, f := range files {
			errs = append(errs, f.Close())
		}
		return errors.Join(errs...)
	}
	for _, name := range names {
		switch name {
		case "default", "stderr", "systemd/journal": // systemd reads stderr
			writers = append(writers, stderr)
		case "stdout":
			writers = append(writers, stdout)
		default:
			f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
			if err != nil {
				return nil, nil, errors.Join(fmt.Errorf("--log-outputs: %w", err), closeAll())
			}
			files = append(files, f)
			writers = append(writers, f)
		}
	}
	if len(writers) == 0 {
		return nil, nil, errors.New("--log-outputs names nothing to log to")
	}
	return io.MultiWriter(writers...), closeAll, nil
}
