#!/usr/bin/env bash
# Claim: a seventh kind of intervention is one arm in intervention.proto, one
# file in lib/intervene/types/ and one line in lib/intervene/type_list.cc; with
# these the library compiles but for one place, and of all sources the compiler
# names two that must know every arm: what the kind sets, and its words.
#   seventh_kind.sh
# In a copy of the sources; compiles the library's part, and every other file
# that looks at kinds or arms, for errors only. Takes a minute or two.
source "$(dirname "$0")/../common.sh"

command -v protoc >/dev/null || skip "no protoc"
cp -r "$root/lib" "$root/client" "$root/server" "$root/proto" "$work"
cd "$work"

python3 - <<'PYTHON'
import re

path = "proto/faultline/v1/intervention.proto"
text = open(path).read()
text = text.replace("  INTERVENTION_KIND_PROMPT_STRATEGY = 6;\n",
                    "  INTERVENTION_KIND_PROMPT_STRATEGY = 6;\n  // How often a step may be retried.\n"
                    "  INTERVENTION_KIND_RETRY_BUDGET = 7;\n")
text = text.replace("    PromptStrategy prompt_strategy = 6;\n",
                    "    PromptStrategy prompt_strategy = 6;\n    // How often a step may be retried.\n"
                    "    RetryBudget retry_budget = 7;\n")
text = text.replace("// A proposed, running or finished change.\nmessage Intervention {",
                    "// Bounds retries.\nmessage RetryBudget {\n  // Required. 0 to 10.\n  int32 retries = 1;\n}\n\n"
                    "// A proposed, running or finished change.\nmessage Intervention {")
open(path, "w").write(text)

path = "lib/intervene/type_list.cc"
text = open(path).read()
text, lines = re.subn(r"TYPE\(PromptStrategy\)", r"TYPE(PromptStrategy) \\\n  TYPE(RetryBudget)", text)
assert lines == 1
open(path, "w").write(text)
PYTHON

cat >lib/intervene/types/retry_budget.cc <<'CODE'
#include <memory>

#include "lib/base/status_macros.h"
#include "lib/intervene/bounds.h"
#include "lib/intervene/intervention_type.h"

namespace faultline::intervene {
namespace {

class RetryBudgetType final : public InterventionType {
 public:
  v1::InterventionKind kind() const override {
    return v1::INTERVENTION_KIND_RETRY_BUDGET;
  }
  bool Answers(v1::FailureMode mode) const override {
    return mode == v1::FAILURE_MODE_TOOL_MISUSE;
  }
  std::vector<Proposal> Propose(
      const ProposalContext&, const diagnose::ContextTable&) const override {
    return {};
  }
  absl::Status Validate(const v1::Action& action) const override {
    FAULTLINE_RETURN_IF_ERROR(
        CheckArm(action, v1::Action::kRetryBudget, "action.retry_budget"));
    return CheckRange("action.retry_budget.retries",
                      action.retry_budget().retries(), 0, 10);
  }
};

}  // namespace

std::unique_ptr<const InterventionType> MakeRetryBudget() {
  return std::make_unique<RetryBudgetType>();
}

}  // namespace faultline::intervene
CODE

touched=$({ diff -rq "$root/proto" proto; diff -rq "$root/lib" lib; } | wc -l) || true
echo "files touched or added: $touched"

mkdir gen
protoc --proto_path=proto --cpp_out=gen proto/faultline/v1/*.proto
# What looks at kinds or arms, and the whole of the two modules in question.
mapfile -t files < <({ ls lib/intervene/*.cc lib/intervene/types/*.cc lib/policy/*.cc
  grep -lrE --include='*.cc' 'kind_case\(\)|InterventionKind|INTERVENTION_KIND' lib server client; } | sort -u |
  grep -v '^lib/policy/policy_board')
named=()
for file in "${files[@]}"; do
  if ! g++ -std=c++20 -Werror=switch -fsyntax-only -I. -Igen -I"$build/proto/gen" "$file" 2>"$work/errors"; then
    grep -q "RetryBudget.*not handled in switch" "$work/errors" || { head -5 "$work/errors"; fail "$file does not compile"; }
    named+=("$file")
  fi
done
echo "files compiled: ${#files[@]}; the compiler names: ${named[*]}"
echo "edits: $touched, and ${#named[@]} switches that the compiler points at"
[[ $touched == 3 && "${named[*]}" == "client/cli/text.cc lib/policy/policy_matcher.cc" ]]
