// faultline-lab: runs the lab against a server; see docs/lab.md.

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/lab/html_report.h"
#include "client/lab/lab.h"
#include "client/lab/lab_runner.h"
#include "client/lab/report.h"
#include "client/lab/service_backend.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"

namespace faultline::lab {
namespace {

constexpr int kMeasuredProblems = 1000;  // of each family, in a dry run

struct Arguments {
  Lab::Options lab;
  ServiceBackend::Options server;
  int ticks = 12;
  std::optional<int> drift_tick;
  std::string labels_path;
  std::string report_path;
  bool auto_approve = false;
  std::optional<double> treatment_probability;
  std::optional<uint32_t> max_trials;
  bool dry_run = false;
  bool json = false;
};

void Declare(CLI::App* app, Arguments* arguments) {
  app->add_option("--server", arguments->server.server, "Address of faultlined")
      ->capture_default_str();
  app->add_option("--project", arguments->server.project, "Project")
      ->capture_default_str();
  app->add_option("--ticks", arguments->ticks, "Rounds")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  app->add_option("--tasks-per-tick", arguments->lab.tasks_per_tick,
                  "Questions in a round, of the families in turn")
      ->capture_default_str();
  std::map<std::string, Family> families;
  for (const Family family : kFamilies) families[FamilyName(family)] = family;
  app->add_option("--families", arguments->lab.families,
                  "Task families; default: all of them")
      ->transform(CLI::CheckedTransformer(families))
      ->delimiter(',');
  std::map<std::string, World> worlds;
  for (const World world : kWorlds) worlds[WorldName(world)] = world;
  app->add_option("--world", arguments->lab.world,
                  "What the parts of the agents are; default: normal")
      ->transform(CLI::CheckedTransformer(worlds));
  app->add_option("--drift-tick", arguments->drift_tick,
                  "Round from which parts are worse, in the world drift; "
                  "default: after half of the rounds")
      ->check(CLI::Range(1, 10000));
  app->add_option("--seed", arguments->lab.seed,
                  "Seed of models, questions and routes")
      ->capture_default_str();
  app->add_option("--run-id", arguments->lab.run_id,
                  "Stands in every trace id; default: from the time");
  app->add_option("--labels", arguments->labels_path,
                  "Write the hidden cause of each run to this file");
  app->add_option("--report", arguments->report_path,
                  "Write tables and curves to this HTML file");
  app->add_flag("--auto-approve", arguments->auto_approve,
                "Let interventions start without a reviewer");
  app->add_option("--treatment-probability", arguments->treatment_probability,
                  "Share of matching runs that a trial treats")
      ->check(CLI::Range(.05, .95));
  app->add_option("--max-trials", arguments->max_trials,
                  "Interventions in trial at the same time")
      ->check(CLI::Range(0, 64));
  app->add_flag("--dry-run", arguments->dry_run,
                "Measure the models by hidden kind, without a server");
  app->add_flag("--json", arguments->json, "Print JSON lines");
}

absl::Status Configure(const Arguments& arguments, Backend* backend) {
  v1::ProjectConfig config;
  if (arguments.auto_approve) {
    for (const v1::InterventionKind kind :
         {v1::INTERVENTION_KIND_ROUTING_POLICY,
          v1::INTERVENTION_KIND_MEMORY_SCHEMA,
          v1::INTERVENTION_KIND_TOOL_CONSTRAINT,
          v1::INTERVENTION_KIND_BANDIT_WEIGHTS, v1::INTERVENTION_KIND_GUARDRAIL,
          v1::INTERVENTION_KIND_PROMPT_STRATEGY}) {
      config.add_auto_approve(kind);
    }
  }
  if (arguments.treatment_probability.has_value()) {
    config.set_treatment_probability(*arguments.treatment_probability);
  }
  if (arguments.max_trials.has_value()) {
    config.set_max_trials(*arguments.max_trials);
  }
  return config.ByteSizeLong() == 0 ? absl::OkStatus()
                                    : backend->Configure(config);
}

// Leaves `file` closed where there is no path.
absl::Status Open(const char* option, const std::string& path,
                  std::ofstream* file) {
  if (path.empty()) return absl::OkStatus();
  file->open(path);
  if (*file) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(option, ": ", path, " cannot be written"));
}

absl::Status RunLab(Arguments arguments) {
  const base::Clock* clock = base::Clock::System();
  if (arguments.lab.run_id.empty()) {
    arguments.lab.run_id =
        absl::StrCat(absl::Hex(absl::ToUnixMillis(clock->Now())));
  }
  arguments.lab.drift_tick =
      arguments.drift_tick.value_or(arguments.ticks / 2 + 1);
  FAULTLINE_ASSIGN_OR_RETURN(const std::unique_ptr<const Lab> lab,
                             Lab::Create(arguments.lab));
  if (arguments.dry_run) {
    const std::vector<KindReport> kinds = lab->MeasureKinds(kMeasuredProblems);
    std::cout << (arguments.json ? KindsJson(kinds) : KindsText(kinds));
    return absl::OkStatus();
  }

  std::ofstream labels;
  std::ofstream page;
  FAULTLINE_RETURN_IF_ERROR(Open("--labels", arguments.labels_path, &labels));
  FAULTLINE_RETURN_IF_ERROR(Open("--report", arguments.report_path, &page));
  FAULTLINE_ASSIGN_OR_RETURN(const std::unique_ptr<ServiceBackend> backend,
                             ServiceBackend::Create(arguments.server, clock));
  FAULTLINE_RETURN_IF_ERROR(Configure(arguments, backend.get()));
  LabRunner runner(*lab, *clock, backend.get(),
                   labels.is_open() ? &labels : nullptr);
  for (int i = 0; i < arguments.ticks; ++i) {
    FAULTLINE_ASSIGN_OR_RETURN(const TickReport report, runner.RunTick());
    std::cout << (arguments.json ? TickJson(report) : TickText(report))
              << std::flush;
  }
  const std::vector<TrialReport> trials = runner.Trials();
  FAULTLINE_ASSIGN_OR_RETURN(const std::vector<NamingReport> naming,
                             runner.Naming());
  const Results results = {runner.reports(), trials, naming};
  std::cout << (arguments.json ? SummaryJson(results) : SummaryText(results));
  if (page.is_open() && !(page << HtmlReport(*lab, results)).flush()) {
    return absl::DataLossError(absl::StrCat("--report: ", arguments.report_path,
                                            " cannot be written"));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace faultline::lab

int main(int argc, char** argv) {
  CLI::App app("An agent runtime that really fails, and learns by policy");
  faultline::lab::Arguments arguments;
  arguments.lab.run_id.clear();
  faultline::lab::Declare(&app, &arguments);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = faultline::lab::RunLab(arguments);
  if (status.ok()) return 0;
  std::cerr << "faultline-lab: " << status.message() << "\n";
  return 1;
}
