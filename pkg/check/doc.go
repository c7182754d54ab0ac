// Package check finds what is wrong with files that people write for Plimsoll, before anything reads them:
// AgentConfiguration, the scheduler's profile, and manifests of pods and of whatever makes pods.
//
// It is not the API server: it knows neither quotas nor other objects, and what it cannot know it does not
// judge. It reads bytes and never a file or the network.
//
// Units: those of the fields that it names.
//
// The trap: what admission would do to a pod is not done here, so requests are judged as they were written.
package check
