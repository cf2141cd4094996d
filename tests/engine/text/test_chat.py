from pathlib import Path

import pytest
from support.tiny_gguf import write_gguf

from engine.text.chat import ChatTemplate, ChatTemplateError

MESSAGES = [{"role": "user", "content": "Write <f> & 'g'."}]


def template(tmp_path: Path, text: str | None) -> ChatTemplate | None:
    return ChatTemplate.from_gguf(write_gguf(tmp_path / "tiny.gguf", template=text))


def test_renders_the_prompt_of_the_next_turn(tmp_path: Path) -> None:
    chat = ChatTemplate.from_gguf(write_gguf(tmp_path / "tiny.gguf"))
    assert chat is not None
    expected = "<|im_start|>user\nWrite <f> & 'g'.<|im_end|>\n<|im_start|>assistant\n"
    assert chat.render(MESSAGES) == expected


def test_a_model_without_a_template_has_none(tmp_path: Path) -> None:
    assert template(tmp_path, None) is None


def test_what_the_template_refuses_is_said(tmp_path: Path) -> None:
    chat = ChatTemplate.from_gguf(write_gguf(tmp_path / "tiny.gguf"))
    assert chat is not None
    with pytest.raises(ChatTemplateError, match="no such role"):
        chat.render([{"role": "judge", "content": ""}])


def test_a_broken_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChatTemplateError, match="is broken"):
        template(tmp_path, "{% for %}")


@pytest.mark.parametrize(
    "attack",
    [
        "{{ messages.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__ }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_hostile_template_gets_nowhere(tmp_path: Path, attack: str) -> None:
    chat = template(tmp_path, attack)
    assert chat is not None
    try:
        shown = chat.render(MESSAGES)
    except ChatTemplateError as error:
        shown = str(error.__cause__)
    assert "<class" not in shown and "root:" not in shown and "__builtins__" not in shown


def test_marks_for_training_are_passed_over(tmp_path: Path) -> None:
    chat = template(tmp_path, "a{% for m in messages %}{% generation %}{{ m.role }}{% endgeneration %}{% endfor %}b")
    assert chat is not None
    assert chat.render(MESSAGES) == "auserb"


def test_templates_may_ask_for_the_date(tmp_path: Path) -> None:
    chat = template(tmp_path, "{{ strftime_now('%Y') }}")
    assert chat is not None
    assert chat.render(MESSAGES) in {str(year) for year in range(2024, 2200)}


def test_tojson_writes_what_models_know(tmp_path: Path) -> None:
    chat = template(tmp_path, "{{ messages[0] | tojson }}{{ eos_token }}")
    assert chat is not None
    assert chat.render(MESSAGES) == '{"role": "user", "content": "Write <f> & \'g\'."}<|im_end|>'
