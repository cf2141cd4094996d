"""The experiments of the program-synthesis papers on one frame.

How to write one. A module `benchmarks/experiments/NAME.py` gives `EXPERIMENT`:

    def scores(protocol, outcomes):  # outcomes: arm -> the outcome of each of its tasks, all of them there
        n, c = passes(protocol, "samples", outcomes["samples"])  # counting: refuses what is no pass@k
        return {"pass_at_1": mean(pass_at_k(n, c, 1)).plain()}  # estimators, resampling; JSON values

    def report(result):  # the result document alone, so that pages can be made again from the file
        lead = f"{set_words(result)}. {source_words(result)}"
        if not result["complete"]:
            return page(result, lead, ())
        return page(result, lead, [Figures(...), Curves(...), problem_table(result, ["samples"])])

    EXPERIMENT = Experiment(name="NAME", title="...", scores=scores, page=report)

and a module `commands/NAME.py` the command, which loads everything inside of its function:

    @experiment_command()  # adds the options of RunOptions and tells errors
    def name(run: RunOptions, own_option: Annotated[int, typer.Option()] = 3) -> None:
        generator = run.chosen_generator(stop=STOP)
        problems = run.chosen_problems("mbpp", "test", generator)
        tasks = tuple(Task(record=record, document=document(record, user("..."), run.limits())) ...)
        n, ks = run.chosen_ks([1, 10], generator, problems)
        draw = run.drawn(generator, n, {"temperature": 0.8, "top_p": 0.95}, {})
        arms = (Arm(name="samples", tasks=tasks, draw=draw),)
        settings = {"ks": ks, "limits": run.described_limits(), "tests_shown": 3}
        plan = Plan(experiment="NAME", data=(problems.described(),), arms=arms, settings=settings)
        run.conduct(EXPERIMENT, plan, generator)

`benchmarks/command.py` lists it. An arm is one condition (a temperature, a prompt, a model, a way to draw); everything
that decides a score must be in the plan, since its protocol is what a result is known by. Resuming, progress, the files
and "incomplete" come from `conduct`. Where samples come from is a `sources.Source`; samples that need no model are a
`sources.Programs`; who judges is a `judging.Judge`. What a document cannot say (EvalPlus's calls, MathQA) is
`Task.make`, with `make_held_out` for held-out tests and `read` where more than verdicts is to be kept; `Task.refuses`
says which programs are wrong whatever their tests say.
"""
