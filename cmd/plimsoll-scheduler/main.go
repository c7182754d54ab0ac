// Command plimsoll-scheduler is the unmodified kube-scheduler with the plugin LoadAware compiled in.
// It takes the flags and the configuration of kube-scheduler; nothing happens until a profile enables
// LoadAware.
//
// The trap: a profile without LoadAware schedules exactly as kube-scheduler does, without a word.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/component-base/cli"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"

	"github.com/plimsoll/plimsoll/pkg/loadaware"
)

func main() {
	var command *cobra.Command
	var factory loadaware.Factory
	newLoadAware := func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
		plugin, err := factory.New(ctx, args, handle)
		if err != nil {
			return nil, fmt.Errorf("configuration file %q: %w", command.Flag("config").Value, err)
		}
		return plugin, nil
	}
	command = app.NewSchedulerCommand(app.WithPlugin(loadaware.Name, newLoadAware))
	command.Use = "plimsoll-scheduler"
	os.Exit(cli.Run(command))
}
